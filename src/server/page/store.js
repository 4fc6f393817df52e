/* SPDX-License-Identifier: MIT */
/* What the browser keeps: conversations and settings in localStorage, the API key in this tab alone. */

const INDEX = "dunlin.conversations";
const ONE = "dunlin.conversation.";
const DEFAULTS = "dunlin.defaults";
const KEY = "dunlin.key";
const TITLE_MAX = 60;

/* Where the browser keeps nothing (private windows of some), conversations live as long as the page. */
const memory = new Map();

function read(name) {
	try {
		return localStorage.getItem(name) ?? memory.get(name) ?? null;
	} catch {
		return memory.get(name) ?? null;
	}
}

/* Return: false where there is no more room; then the page alone has it. */
function write(name, text) {
	try {
		localStorage.setItem(name, text);
		memory.delete(name);
		return true;
	} catch {
		memory.set(name, text);
		return false;
	}
}

function remove(name) {
	memory.delete(name);
	try {
		localStorage.removeItem(name);
	} catch {
		/* It was never there. */
	}
}

/* What another version or a curious user left there is no reason to fail. */
function parse(text, fallback) {
	try {
		const value = JSON.parse(text);

		return value && typeof value === "object" ? value : fallback;
	} catch {
		return fallback;
	}
}

function isMessage(message) {
	return message && (message.role === "user" || message.role === "assistant") && typeof message.content === "string";
}

export const defaults = () => parse(read(DEFAULTS), {});
export const setDefaults = (settings) => write(DEFAULTS, JSON.stringify(settings));

/* [{id, title}], the newest first. */
export function list() {
	const all = parse(read(INDEX), []);

	return Array.isArray(all) ? all.filter((one) => typeof one?.id === "string") : [];
}

export function fresh() {
	const bytes = crypto.getRandomValues(new Uint8Array(8));
	const id = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

	return { id, title: "", settings: { ...defaults() }, messages: [] };
}

export function load(id) {
	const found = parse(read(ONE + id), null);

	if (!found)
		return null;
	return {
		id,
		title: String(found.title ?? ""),
		settings: parse(JSON.stringify(found.settings ?? {}), {}),
		messages: Array.isArray(found.messages) ? found.messages.filter(isMessage) : [],
	};
}

export function titleOf(text) {
	const line = text.trim().replace(/\s+/g, " ");

	return line.length > TITLE_MAX ? `${line.slice(0, TITLE_MAX - 1)}…` : line;
}

/* Return: false where the browser's storage is full. */
export function save(conversation) {
	const others = list().filter((one) => one.id !== conversation.id);
	const { id, title } = conversation;
	const whole = write(ONE + id, JSON.stringify(conversation));

	return write(INDEX, JSON.stringify([{ id, title }, ...others])) && whole;
}

export function drop(id) {
	write(INDEX, JSON.stringify(list().filter((one) => one.id !== id)));
	remove(ONE + id);
}

/* As it was before drop(): at its place of the list. */
export function restore(conversation, index) {
	const all = list();

	all.splice(index, 0, { id: conversation.id, title: conversation.title });
	write(ONE + conversation.id, JSON.stringify(conversation));
	write(INDEX, JSON.stringify(all));
}

export const isIndex = (name) => name === INDEX;

let key = "";

export function apiKey() {
	try {
		return sessionStorage.getItem(KEY) ?? key;
	} catch {
		return key;
	}
}

export function setApiKey(value) {
	key = value;
	try {
		sessionStorage.setItem(KEY, value);
	} catch {
		/* Then for as long as the page is open. */
	}
}

export const choice = (name) => read(`dunlin.${name}`);
export const setChoice = (name, value) => value === null ? remove(`dunlin.${name}`) : write(`dunlin.${name}`, value);
