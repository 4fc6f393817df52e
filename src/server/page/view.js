/* SPDX-License-Identifier: MIT */
/* Messages as elements, and answers as they come. */

import { duration } from "./load.js";
import { Markdown, element } from "./markdown.js";

const SVG = "http://www.w3.org/2000/svg";
const COPIED_MS = 1500;
/* Painting, with what the browser then does, gets a fifth of the time at most, however long an answer is. */
const PAINT_SHARE = 4;
const FRAME_MS = 20;
const LONG = 50000; /* characters, from which on what cannot be seen is not laid out */

export const $ = (id) => document.getElementById(id);

export function icon(name) {
	const svg = document.createElementNS(SVG, "svg");
	const use = document.createElementNS(SVG, "use");

	use.setAttribute("href", `#i-${name}`);
	svg.setAttribute("aria-hidden", "true");
	svg.append(use);
	return svg;
}

export function button(name, label, act) {
	const made = element("button", "", icon(name));

	made.type = "button";
	made.title = label;
	made.setAttribute("aria-label", label);
	made.addEventListener("click", act);
	return made;
}

/* Over plain http to another machine, browsers have no clipboard but the old way. */
async function toClipboard(text) {
	if (navigator.clipboard) {
		await navigator.clipboard.writeText(text);
		return;
	}
	const area = element("textarea", "hidden");

	area.value = text;
	document.body.append(area);
	area.select();
	const done = document.execCommand("copy");

	area.remove();
	if (!done)
		throw new Error("The browser does not let this page copy.");
}

export async function copy(text, target) {
	try {
		await toClipboard(text);
	} catch {
		say("It could not be copied.");
		return;
	}
	say("Copied.");
	target.classList.add("copied");
	if (target.firstElementChild) {
		target.replaceChildren(icon("check"));
		setTimeout(() => target.replaceChildren(icon("copy")), COPIED_MS);
	} else {
		target.textContent = "Copied";
		setTimeout(() => { target.textContent = "Copy"; }, COPIED_MS);
	}
	setTimeout(() => target.classList.remove("copied"), COPIED_MS);
}

/* To screen readers. */
export function say(text) {
	$("say").textContent = text;
}

let toastTimer = 0;

export function toast(text, label, act) {
	const hide = () => { $("toast").hidden = true; };

	clearTimeout(toastTimer);
	$("toast-text").textContent = text;
	$("toast-act").hidden = !act;
	$("toast-act").textContent = label ?? "";
	$("toast-act").onclick = () => {
		hide();
		act();
	};
	$("toast").hidden = false;
	toastTimer = setTimeout(hide, 8000);
}

export function figuresText(figures) {
	const parts = [];

	if (!figures)
		return "";
	if (figures.tokens)
		parts.push(`${figures.tokens} ${figures.tokens === 1 ? "token" : "tokens"}`);
	if (figures.rate)
		parts.push(`${figures.rate.toFixed(figures.rate < 10 ? 1 : 0)} tokens/s`);
	if (figures.first)
		parts.push(`first token ${duration(figures.first / 1000)}`);
	return parts.join(" · ");
}

function endText(message) {
	const parts = [figuresText(message.figures)];
	const when = message.thinking ? " while thinking" : "";

	if (message.end === "stopped")
		parts.push(`stopped${when}`);
	else if (message.end === "length")
		parts.push(`cut at the longest length${when}`);
	else if (message.thinking)
		parts.push("no text but thoughts");
	return parts.filter(Boolean).join(" · ");
}

function userElement(message, acts) {
	const body = element("div", "body", message.content);
	const tools = element("div", "tools",
		button("edit", "Edit and send again", acts.edit),
		button("copy", "Copy", (event) => copy(message.content, event.currentTarget)));

	return element("section", "message user", body, tools);
}

/* An answer: done, or with what it takes to grow. */
export class Answer {
	constructor(message, acts) {
		this.message = message;
		this.acts = acts;
		this.text = element("div", "text");
		this.tools = element("div", "tools");
		this.fault = element("div", "fault");
		this.element = element("section", "message answer", this.text, this.fault, this.tools);
		this.markdown = new Markdown(this.text);
		this.frame = 0;
		this.free = 0;
		this.painted = -1;
	}

	#paint() {
		const begin = performance.now();

		if (this.message.content.length === this.painted)
			return;
		if (this.painted <= 0)
			this.text.replaceChildren();
		this.painted = this.message.content.length;
		this.markdown.update(this.message.content);
		this.text.classList.toggle("long", this.painted > LONG);
		this.free = Infinity;
		requestAnimationFrame(() => {
			const now = performance.now();

			this.free = now + PAINT_SHARE * Math.max(0, now - begin - FRAME_MS);
		});
	}

	wait() {
		this.element.setAttribute("aria-busy", "true");
		this.tools.hidden = this.fault.hidden = true;
		if (!this.message.content)
			this.text.replaceChildren(element("span", "waiting", element("i"), element("i"), element("i")));
		this.grow();
	}

	/* @painted: called when there is something new to see. */
	grow(painted) {
		if (this.frame)
			return;
		const look = (now) => {
			if (now < this.free) {
				this.frame = requestAnimationFrame(look);
				return;
			}
			this.frame = 0;
			if (this.message.content)
				this.#paint();
			painted?.();
		};

		this.frame = requestAnimationFrame(look);
	}

	end() {
		const { message } = this;

		cancelAnimationFrame(this.frame);
		this.frame = 0;
		this.element.removeAttribute("aria-busy");
		if (message.content)
			this.#paint();
		else
			this.text.replaceChildren();
		this.fault.replaceChildren();
		this.fault.hidden = !message.fault;
		if (message.fault) {
			const again = element("button", "plain", "Try again");

			again.type = "button";
			again.addEventListener("click", this.acts.again);
			this.fault.append(element("span", "", message.fault), again);
		}
		this.tools.hidden = false;
		this.tools.replaceChildren();
		if (message.content)
			this.tools.append(button("copy", "Copy", (event) => copy(message.content, event.currentTarget)));
		if (!message.fault)
			this.tools.append(button("again", "Answer again", this.acts.again));
		this.tools.append(element("span", "figures", endText(message) || (message.content ? "" : "no text")));
	}
}

function heading(text) {
	return element("h2", "hidden", text);
}

/* @acts(index): what can be done with a message. Returns the last one's Answer, where it is one. */
export function showMessages(conversation, acts) {
	let answer = null;
	const made = conversation.messages.map((message, i) => {
		answer = message.role === "assistant" ? new Answer(message, acts(i)) : null;
		const one = answer ? answer.element : userElement(message, acts(i));

		one.prepend(heading(answer ? "Answer" : "You"));
		answer?.end();
		return one;
	});

	$("messages").replaceChildren(...made);
	$("empty").hidden = made.length > 0;
	$("messages").hidden = made.length === 0;
	return answer;
}

/* In the place of a message: its text, to be changed. */
export function editMessage(section, text, send, cancel) {
	const area = element("textarea", "", text);
	const body = section.querySelector(".body");
	const back = element("button", "plain", "Cancel");
	const main = element("button", "main", "Send");
	const done = () => area.value.trim() && send(area.value.trim());

	area.setAttribute("aria-label", "Message");
	back.type = main.type = "button";
	back.addEventListener("click", cancel);
	main.addEventListener("click", done);
	area.addEventListener("keydown", (event) => {
		if (event.key === "Escape") {
			event.stopPropagation();
			cancel();
		} else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
			event.preventDefault();
			done();
		}
	});
	section.classList.add("editing");
	section.querySelector(".tools").hidden = true;
	body.replaceChildren(area, element("div", "row", back, main));
	area.focus();
	area.setSelectionRange(text.length, text.length);
}
