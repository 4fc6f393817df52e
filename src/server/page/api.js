/* SPDX-License-Identifier: MIT */
/* The server, by the same API that programs use. */

import { apiKey } from "./store.js";

export class Fault extends Error {
	constructor(status, message, retryAfter) {
		super(message);
		this.status = status;
		this.retryAfter = retryAfter;
	}
}

async function faultOf(response) {
	let message = `The server answered ${response.status}.`;

	try {
		message = (await response.json()).error.message;
	} catch {
		/* A proxy's page, perhaps: the status says enough. */
	}
	return new Fault(response.status, String(message), Number(response.headers.get("Retry-After")) || 0);
}

async function ask(path, options = {}) {
	const headers = { ...options.headers };
	let response;

	if (apiKey())
		headers.Authorization = `Bearer ${apiKey()}`;
	try {
		response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
	} catch (error) {
		if (error.name === "AbortError")
			throw error;
		throw new Fault(0, "The server does not answer. Is it running?", 0);
	}
	if (!response.ok)
		throw await faultOf(response);
	return response;
}

export async function models() {
	return (await (await ask("/v1/models")).json()).data;
}

export async function props() {
	return (await ask("/props")).json();
}

export async function metrics() {
	return (await ask("/metrics")).text();
}

/* Whole events of a stream, as JSON. */
async function* events(body) {
	const reader = body.pipeThrough(new TextDecoderStream()).getReader();
	let rest = "";

	for (;;) {
		const { value, done } = await reader.read();

		if (done)
			return;
		const lines = (rest + value).split("\n");

		rest = lines.pop();
		for (const line of lines)
			if (line.startsWith("data: ") && line !== "data: [DONE]")
				yield JSON.parse(line.slice(6));
			else if (line === "data: [DONE]")
				return;
	}
}

/**
 * An answer as it comes: yields {thought}, {text}, {finish} and at the end {usage, timings}.
 * Leaving the loop, or @signal, ends it on the server too.
 */
export async function* chat(body, signal) {
	const response = await ask("/v1/chat/completions", {
		method: "POST",
		headers: { "Content-Type": "application/json" },
		body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
		signal,
	});
	let whole = false;

	try {
		for await (const event of events(response.body)) {
			if (event.error)
				throw new Fault(500, String(event.error.message), 0);
			const choice = event.choices?.[0];

			if (choice?.delta?.reasoning_content)
				yield { thought: choice.delta.reasoning_content };
			if (choice?.delta?.content)
				yield { text: choice.delta.content };
			if (choice?.finish_reason) {
				whole = true;
				yield { finish: choice.finish_reason };
			}
			if (event.usage)
				yield { usage: event.usage, timings: event.timings };
		}
	} catch (error) {
		if (error instanceof Fault || error.name === "AbortError")
			throw error;
		throw new Fault(0, "The connection to the server broke off.", 0);
	}
	if (!whole)
		throw new Fault(0, "The connection to the server broke off.", 0);
}
