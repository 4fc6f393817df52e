/* SPDX-License-Identifier: MIT */
/* The page: conversations, their answers, and what keys and buttons do. */

import * as api from "./api.js";
import { Load } from "./load.js";
import { element } from "./markdown.js";
import { askKey, openSettings, sampling } from "./settings.js";
import * as store from "./store.js";
import { $, button, copy, editMessage, figuresText, say, showMessages, toast } from "./view.js";

const SAVE_MS = 2000;
const NEAR_END = 64;
const SAID_MAX = 1000; /* of an answer, to screen readers */
const IDEAS = [
	"Why is the sky blue? Answer in three sentences.",
	"Write a Python function that counts the words of a file.",
	"Name five birds that live by the sea, as a table.",
	"Draft a short thank-you note to a colleague.",
];
const NOTE = "Models make mistakes: check what matters.";

let current = null;
let stick = true; /* the end of the conversation stays in view */
const runs = new Map(); /* answers that are on their way, by their conversation's id */

const narrow = matchMedia("(max-width: 56rem)");
const wide = matchMedia("(min-width: 85rem)");

function focusAsk() {
	/* On a phone that would open the keyboard. */
	if (matchMedia("(hover: hover)").matches)
		$("ask-text").focus();
}

/* The list. */

function listItem({ id, title }) {
	const open = element("button", "open", title || "New conversation");
	const drop = button("trash", `Delete “${title}”`, () => remove(id));

	open.type = "button";
	open.title = title;
	if (id === current.id)
		open.setAttribute("aria-current", "page");
	open.addEventListener("click", () => {
		select(id);
		toggleSide(false);
	});
	drop.className = "icon drop";
	return element("li", "", open, drop);
}

function showList() {
	$("list").replaceChildren(...store.list().map(listItem));
}

function keep(conversation) {
	if (!store.save(conversation))
		toast("The browser's storage is full: what is new is lost when this page closes.");
	showList();
}

function remove(id) {
	const all = store.list();
	const index = all.findIndex((one) => one.id === id);
	const dropped = runs.get(id)?.conversation ?? store.load(id);

	runs.get(id)?.controller.abort();
	store.drop(id);
	if (id === current.id)
		show(store.fresh());
	showList();
	if (dropped)
		toast("Conversation deleted.", "Undo", () => {
			store.restore(dropped, index);
			select(id);
		});
	focusAsk();
}

function select(id) {
	const found = runs.get(id)?.conversation ?? store.load(id);

	show(found ?? store.fresh());
	focusAsk();
}

function selectBeside(step) {
	const all = store.list();
	const at = all.findIndex((one) => one.id === current.id) + step;

	if (all[at])
		select(all[at].id);
}

/* What is shown. */

function actsOf(conversation) {
	return (i) => ({
		edit: () => edit(conversation, i),
		again: () => again(conversation, i),
	});
}

function show(conversation) {
	const run = runs.get(conversation.id);

	if (current && runs.has(current.id))
		runs.get(current.id).answer = null;
	current = conversation;
	store.setChoice("current", conversation.id);
	const last = showMessages(conversation, actsOf(conversation));

	if (run) {
		run.answer = last;
		run.answer.wait();
	}
	$("title").textContent = conversation.title || "New conversation";
	document.title = conversation.title ? `${conversation.title} – Dunlin` : "Dunlin";
	showList();
	showState();
	stick = true;
	toEnd();
}

/* Buttons and the line of figures, as the shown conversation has it. */
function showState() {
	const run = runs.get(current.id);

	$("send").hidden = Boolean(run);
	$("stop").hidden = !run;
	$("send").disabled = !$("ask-text").value.trim();
	$("live-text").textContent = run ? liveText(run) : NOTE;
	document.body.dataset.state = run ? "answering" : "idle";
}

function liveText(run) {
	if (!run.figures.tokens)
		return "Reading the prompt…";
	return `${run.message.thinking ? "Thinking… · " : ""}${figuresText(run.figures)}`;
}

function toEnd() {
	$("talk").scrollTop = $("talk").scrollHeight;
	$("jump").hidden = true;
}

function followEnd() {
	if (stick)
		toEnd();
	else
		$("jump").hidden = false;
}

/* Answers. */

function requestOf(conversation) {
	const messages = conversation.messages
		.filter((message) => message.role === "user" || message.content)
		.map(({ role, content }) => ({ role, content }));

	if (conversation.settings.system)
		messages.unshift({ role: "system", content: conversation.settings.system });
	return { model: $("model").value || undefined, messages, ...sampling(conversation.settings) };
}

function count(run, tokens) {
	const now = performance.now();
	const { figures } = run;

	if (!figures.tokens) {
		figures.first = now - run.begun;
		run.first = now;
	}
	figures.tokens += tokens;
	if (now > run.first)
		figures.rate = (figures.tokens - 1) * 1000 / (now - run.first);
}

/* The server's own figures, in the place of what was seen from here. */
function settle(run, { usage, timings }) {
	const { figures } = run;

	figures.tokens = usage.completion_tokens;
	if (timings?.first_token_ms)
		figures.first = timings.first_token_ms;
	if (timings?.decode_ms && figures.tokens > 1)
		figures.rate = (figures.tokens - 1) * 1000 / timings.decode_ms;
}

async function stream(run) {
	let saved = performance.now();

	for await (const event of api.chat(run.request, run.controller.signal)) {
		if (event.text || event.thought) {
			run.message.content += event.text ?? "";
			run.message.thinking = Boolean(event.thought);
			count(run, 1);
		} else if (event.finish) {
			run.message.end = event.finish;
		} else {
			settle(run, event);
		}
		run.answer?.grow(() => {
			followEnd();
			showState();
		});
		if (performance.now() - saved > SAVE_MS) {
			saved = performance.now();
			store.save(run.conversation);
		}
	}
}

async function attempt(run) {
	for (;;) {
		try {
			run.begun = performance.now();
			await stream(run);
			return;
		} catch (error) {
			if (error.status === 401 && await askKey()) {
				void lookForModels();
				continue;
			}
			if (error.name === "AbortError")
				run.message.end = "stopped";
			else
				run.message.fault = error.message;
			return;
		}
	}
}

function finish(run) {
	const { conversation, message } = run;

	runs.delete(conversation.id);
	if (run.figures.tokens)
		message.figures = run.figures;
	/* Deleted meanwhile: it does not come back. */
	if (store.list().some((one) => one.id === conversation.id))
		keep(conversation);
	if (conversation !== current)
		return;
	run.answer?.end();
	showState();
	followEnd();
	say(message.fault ?? `${message.end === "stopped" ? "Stopped. " : ""}${message.content.slice(0, SAID_MAX)}`);
}

async function answer(conversation) {
	if (runs.has(conversation.id))
		return;
	const message = { role: "assistant", content: "" };
	const run = {
		conversation,
		message,
		request: requestOf(conversation),
		controller: new AbortController(),
		figures: { tokens: 0, rate: 0, first: 0 },
		answer: null,
	};

	conversation.messages.push(message);
	runs.set(conversation.id, run);
	keep(conversation);
	show(conversation);
	say("Answering.");
	await attempt(run);
	finish(run);
}

function ask(conversation, text) {
	conversation.messages.push({ role: "user", content: text });
	conversation.title ||= store.titleOf(text);
	void answer(conversation);
}

function again(conversation, index) {
	if (runs.has(conversation.id))
		return;
	conversation.messages.splice(index);
	void answer(conversation);
	focusAsk();
}

function edit(conversation, index) {
	const section = $("messages").children[index];

	if (runs.has(conversation.id) || section.classList.contains("editing"))
		return;
	editMessage(section, conversation.messages[index].content, (text) => {
		conversation.messages.splice(index);
		if (index === 0)
			conversation.title = "";
		ask(conversation, text);
		focusAsk();
	}, () => {
		show(conversation);
		focusAsk();
	});
}

function stop() {
	runs.get(current.id)?.controller.abort();
}

/* The box. */

function fitBox() {
	const box = $("ask-text");

	box.style.height = "auto";
	box.style.height = `${box.scrollHeight}px`;
	box.style.overflowY = box.scrollHeight > box.clientHeight + 1 ? "auto" : "hidden";
	$("send").disabled = !box.value.trim();
}

function send() {
	const text = $("ask-text").value.trim();

	if (!text || runs.has(current.id))
		return;
	$("ask-text").value = "";
	fitBox();
	ask(current, text);
}

/* Models. */

function showModels(models) {
	const select = $("model");
	const wanted = select.dataset.known ? select.value : store.choice("model");
	const known = models.map((model) => model.id).join("\n");

	if (select.dataset.known === known)
		return;
	select.replaceChildren(...models.map((model) => new Option(model.id, model.id)));
	if (models.some((model) => model.id === wanted))
		select.value = wanted;
	select.dataset.known = known;
	select.disabled = models.length < 2;
}

async function lookForModels() {
	try {
		showModels(await api.models());
		$("key-open").hidden = !store.apiKey();
	} catch (error) {
		if (error.status === 401 && await askKey())
			await lookForModels();
		else if (error.status !== 401)
			toast(error.message, "Try again", lookForModels);
		$("key-open").hidden = error.status !== 401;
	}
}

/* What lies beside the conversation. */

function cover() {
	const covered = narrow.matches && ($("side").classList.contains("open") || !$("load").hidden);

	$("shade").hidden = !covered;
	document.querySelector(".centre").inert = covered;
}

function toggleSide(open) {
	if (!narrow.matches)
		open = false;
	const was = $("side").classList.contains("open");

	$("side").classList.toggle("open", open);
	$("side-open").setAttribute("aria-expanded", String(open));
	cover();
	if (open)
		$("new").focus();
	else if (was)
		$("side-open").focus();
}

const load = new Load($("load-body"), (props) => showModels(props.models));

function toggleLoad(open, byUser = true) {
	$("load").hidden = !open;
	$("load-open").setAttribute("aria-expanded", String(open));
	load.show(open);
	cover();
	if (!byUser)
		return;
	store.setChoice("load", open ? "open" : "closed");
	(open ? $("load-close") : $("load-open")).focus();
}

const THEMES = [null, "light", "dark"];

function showTheme() {
	$("theme-name").textContent = `Theme: ${store.choice("theme") ?? "system"}`;
}

function nextTheme() {
	const next = THEMES[(THEMES.indexOf(store.choice("theme")) + 1) % THEMES.length];

	store.setChoice("theme", next);
	if (next)
		document.documentElement.dataset.theme = next;
	else
		delete document.documentElement.dataset.theme;
	showTheme();
}

function settings() {
	const conversation = current;

	openSettings(conversation.settings, (chosen) => {
		conversation.settings = chosen;
		if (conversation.messages.length)
			keep(conversation);
	});
}

function begin() {
	show(store.fresh());
	toggleSide(false);
	$("ask-text").focus();
}

/* Keys. */

function lastOf(role) {
	return current.messages.findLastIndex((message) => message.role === role);
}

const ALT = {
	KeyN: begin,
	KeyS: settings,
	KeyL: () => toggleLoad($("load").hidden),
	KeyR: () => lastOf("assistant") >= 0 && again(current, lastOf("assistant")),
	KeyE: () => lastOf("user") >= 0 && edit(current, lastOf("user")),
	ArrowUp: () => selectBeside(-1),
	ArrowDown: () => selectBeside(1),
};

function onKey(event) {
	const typing = event.target.closest("input, textarea, select");

	if (document.querySelector("dialog[open]") || event.isComposing)
		return;
	if (event.altKey && !event.ctrlKey && !event.metaKey && ALT[event.code]) {
		event.preventDefault();
		ALT[event.code]();
	} else if (event.key === "Escape") {
		if ($("side").classList.contains("open"))
			toggleSide(false);
		else if (narrow.matches && !$("load").hidden)
			toggleLoad(false);
		else
			stop();
	} else if (!typing && event.key === "?") {
		$("help").showModal();
	} else if (!typing && event.key === "/") {
		event.preventDefault();
		$("ask-text").focus();
	}
}

function onBoxKey(event) {
	if (event.key !== "Enter" || event.shiftKey || event.isComposing)
		return;
	event.preventDefault();
	send();
}

function onStorage(event) {
	if (!store.isIndex(event.key))
		return;
	showList();
	/* Another tab went on with what is shown here. */
	if (!runs.has(current.id) && store.list().some((one) => one.id === current.id))
		show(store.load(current.id) ?? current);
}

function listen() {
	const click = (id, act) => $(id).addEventListener("click", act);

	$("ask").addEventListener("submit", (event) => {
		event.preventDefault();
		send();
	});
	$("ask-text").addEventListener("input", fitBox);
	$("ask-text").addEventListener("keydown", onBoxKey);
	document.addEventListener("keydown", onKey);
	click("stop", stop);
	click("new", begin);
	click("side-open", () => toggleSide(true));
	click("side-close", () => toggleSide(false));
	click("shade", () => $("side").classList.contains("open") ? toggleSide(false) : toggleLoad(false));
	click("load-open", () => toggleLoad($("load").hidden));
	click("load-close", () => toggleLoad(false));
	click("settings-open", settings);
	click("help-open", () => $("help").showModal());
	click("key-open", () => void askKey().then((given) => given && lookForModels()));
	click("theme", nextTheme);
	/* No submit buttons: Enter in a field is for the first of these. */
	for (const one of document.querySelectorAll("[data-close]"))
		one.addEventListener("click", () => one.closest("dialog").close());
	click("jump", () => {
		stick = true;
		toEnd();
	});
	$("model").addEventListener("change", () => store.setChoice("model", $("model").value));
	$("messages").addEventListener("click", (event) => {
		if (event.target.dataset.copy === "code")
			void copy(event.target.closest(".code").querySelector("code").textContent, event.target);
	});
	$("talk").addEventListener("scroll", () => {
		stick = $("talk").scrollHeight - $("talk").scrollTop - $("talk").clientHeight < NEAR_END;
		if (stick)
			$("jump").hidden = true;
	}, { passive: true });
	narrow.addEventListener("change", () => {
		$("side").classList.remove("open");
		cover();
	});
	addEventListener("storage", onStorage);
	addEventListener("pagehide", () => {
		for (const run of runs.values()) {
			run.message.end = "stopped";
			store.save(run.conversation);
		}
	});
}

function showIdeas() {
	$("ideas").append(...IDEAS.map((text) => {
		const idea = element("button", "", text);

		idea.type = "button";
		idea.addEventListener("click", () => ask(current, text));
		return element("li", "", idea);
	}));
}

listen();
showIdeas();
showTheme();
show(store.load(store.choice("current")) ?? store.fresh());
toggleLoad(wide.matches && store.choice("load") !== "closed", false);
focusAsk();
void lookForModels();
