/* SPDX-License-Identifier: MIT */
/* How a conversation is to be answered, and the API key. */

import { element } from "./markdown.js";
import * as store from "./store.js";
import { $ } from "./view.js";

/* As of "dunlin run"; what is empty here is the server's to say. */
const FIELDS = [
	{ name: "temperature", label: "Temperature", hint: "randomness", standard: 0.8, min: 0, max: 2, step: 0.05 },
	{ name: "top_p", label: "Top-p", hint: "likeliest together", standard: 0.95, min: 0, max: 1, step: 0.01 },
	{ name: "top_k", label: "Top-k", hint: "likeliest; 0: all", standard: 40, min: 0, max: 100000, step: 1 },
	{ name: "min_p", label: "Min-p", hint: "of the first", standard: 0.05, min: 0, max: 1, step: 0.01 },
	{ name: "repetition_penalty", label: "Repetition penalty", hint: "1: off", standard: 1, min: 0.01, max: 100, step: 0.01 },
	{ name: "max_tokens", label: "Longest answer", hint: "tokens", standard: "as it fits", min: 1, max: 1000000, step: 1 },
	{ name: "seed", label: "Seed", hint: "same seed, same answer", standard: "random", min: 0, max: Number.MAX_SAFE_INTEGER, step: 1 },
];

function makeFields() {
	for (const field of FIELDS) {
		const input = element("input");
		const name = element("span", "", `${field.label} `, element("small", "", field.hint));

		Object.assign(input, { type: "number", id: `set-${field.name}`, min: field.min, max: field.max,
			step: field.step, placeholder: field.standard, inputMode: "decimal" });
		$("set-fields").append(element("label", "field", name, input));
	}
}

function fill(settings) {
	$("set-system").value = settings.system ?? "";
	for (const { name } of FIELDS)
		$(`set-${name}`).value = settings[name] ?? "";
	$("set-default").checked = false;
}

function taken() {
	const settings = {};

	if ($("set-system").value.trim())
		settings.system = $("set-system").value.trim();
	for (const { name } of FIELDS)
		if ($(`set-${name}`).value !== "")
			settings[name] = $(`set-${name}`).valueAsNumber;
	return settings;
}

/* Those of a request's body. */
export function sampling(settings) {
	const body = {};

	for (const { name, standard } of FIELDS) {
		const value = settings[name] ?? standard;

		if (typeof value === "number")
			body[name] = value;
	}
	return body;
}

/* @save: called with what was chosen. */
export function openSettings(settings, save) {
	const dialog = $("settings");

	if (!$("set-fields").childElementCount)
		makeFields();
	fill(settings);
	dialog.returnValue = "";
	dialog.onclose = () => {
		if (dialog.returnValue !== "ok")
			return;
		const chosen = taken();

		if ($("set-default").checked)
			store.setDefaults(chosen);
		save(chosen);
	};
	$("set-reset").onclick = () => fill({});
	dialog.showModal();
}

let asking = null;

/* Return: whether one was given. Who asks meanwhile waits for the same. */
export function askKey() {
	const dialog = $("key");

	asking ??= new Promise((resolve) => {
		$("key-wrong").hidden = !store.apiKey();
		$("key-text").value = "";
		dialog.returnValue = "";
		dialog.onclose = () => {
			asking = null;
			if (dialog.returnValue === "ok")
				store.setApiKey($("key-text").value.trim());
			$("key-text").value = "";
			resolve(dialog.returnValue === "ok");
		};
		dialog.showModal();
	});
	return asking;
}
