/* SPDX-License-Identifier: MIT */
/* What the server does now: figures of the last seconds, from what it counts. */

import * as api from "./api.js";
import { element } from "./markdown.js";

const EVERY_MS = 2000;
const SECONDS = 10; /* that figures are about */
const POINTS = 60;
const SVG = "http://www.w3.org/2000/svg";

/* {name: value} of samples without labels but "le", whose histograms become {name: [[le, count], …]}. */
export function readMetrics(text) {
	const values = {};
	const buckets = {};

	for (const line of text.split("\n")) {
		const match = /^(\w+?)(?:_bucket\{le="([^"]+)"\})? (\S+)$/.exec(line);

		if (!match)
			continue;
		if (match[2] === undefined)
			values[match[1]] = Number(match[3]);
		else
			(buckets[match[1]] ??= []).push([match[2] === "+Inf" ? Infinity : Number(match[2]), Number(match[3])]);
	}
	return { values, buckets };
}

/* The value that a part of the observations between two samples was below; NaN without any. */
export function percentile(now, before, name, part) {
	const counts = (now.buckets[name] ?? []).map(([le, count], i) => [le, count - (before.buckets[name]?.[i]?.[1] ?? 0)]);
	const wanted = (counts.at(-1)?.[1] ?? 0) * part;
	let low = 0;
	let below = 0;

	if (!(wanted > 0))
		return NaN;
	for (const [le, count] of counts) {
		if (count >= wanted)
			return le === Infinity ? low : low + (le - low) * (wanted - below) / (count - below);
		low = le;
		below = count;
	}
	return low;
}

function difference(now, before, name) {
	return (now.values[name] ?? 0) - (before.values[name] ?? 0);
}

const bytes = (n) => n >= 2 ** 30 ? `${(n / 2 ** 30).toFixed(1)} GiB` : `${Math.round(n / 2 ** 20)} MiB`;

export function duration(seconds) {
	if (!Number.isFinite(seconds))
		return "–";
	if (seconds >= 10)
		return `${seconds.toFixed(0)}\u00a0s`;
	return seconds >= 1 ? `${seconds.toFixed(1)}\u00a0s` : `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)}\u00a0ms`;
}

function facts(rows) {
	return element("dl", "facts", ...rows.map(([name, value]) =>
		element("div", "", element("dt", "", name), element("dd", "", value))));
}

function shape(name, className, points) {
	const made = document.createElementNS(SVG, name);

	if (className)
		made.setAttribute("class", className);
	made.setAttribute("points", points.map((point) => point.map((n) => n.toFixed(1)).join(",")).join(" "));
	return made;
}

function spark(values) {
	const svg = document.createElementNS(SVG, "svg");
	const most = Math.max(...values, 1);
	const points = values.map((value, i) => [300 - (values.length - 1 - i) * 300 / (POINTS - 1), 47 - value / most * 44]);

	svg.setAttribute("class", "spark");
	svg.setAttribute("viewBox", "0 0 300 48");
	svg.setAttribute("preserveAspectRatio", "none");
	svg.setAttribute("aria-hidden", "true");
	if (points.length > 1)
		svg.append(shape("polygon", "area", [[points[0][0], 48], ...points, [300, 48]]), shape("polyline", "", points));
	return svg;
}

function memoryBar(memory) {
	const used = memory.supervisor_bytes + memory.front_bytes + memory.workers_bytes;
	const budget = memory.budget_bytes;
	const text = element("div", "bar-text", element("span", "", bytes(used)), element("span", "unit", budget ? `of ${bytes(budget)}` : "no budget"));

	if (!budget)
		return [text];
	const fill = element("span");
	const bar = element("div", "bar", fill);
	const part = Math.min(100, used / budget * 100);

	fill.style.width = `${part}%`;
	bar.setAttribute("role", "meter");
	bar.setAttribute("aria-label", "Memory of the budget");
	bar.setAttribute("aria-valuemin", "0");
	bar.setAttribute("aria-valuemax", "100");
	bar.setAttribute("aria-valuenow", part.toFixed(0));
	bar.setAttribute("aria-valuetext", `${bytes(used)} of ${bytes(budget)}`);
	return [bar, text];
}

function modelItem(model) {
	const meta = model.meta;
	const about = [meta.state];

	if (meta.state === "ready")
		about.push(...[meta.architecture, meta.quantization, `${meta.context_length.toLocaleString("en")} tokens`, bytes(meta.memory_bytes)].filter(Boolean));
	if (model.restarts)
		about.push(`${model.restarts} ${model.restarts === 1 ? "restart" : "restarts"}`);
	const item = element("li", meta.state.replace(" ", "-"), element("span", "name", model.id), element("small", "", about.join(" · ")));

	if (model.reason && meta.state === "failed")
		item.append(element("small", "", model.reason));
	return item;
}

function rateOf(now, before) {
	const seconds = (now.at - before.at) / 1000;
	/* Counted as they come, unlike dunlin_output_tokens_total, which is of whole answers. */
	const tokens = difference(now, before, "dunlin_first_token_seconds_count") + difference(now, before, "dunlin_between_tokens_seconds_count");

	return seconds > 0 ? Math.max(0, tokens / seconds) : 0;
}

function figures(now, before, rates, props) {
	const seconds = (now.at - before.at) / 1000;
	const cpu = seconds > 0 ? Math.max(0, difference(now, before, "dunlin_cpu_seconds_total") / seconds) : 0;
	const sum = (name) => props.models.reduce((all, model) => all + model[name], 0);
	const latency = (name, part) => duration(percentile(now, before, `dunlin_${name}_seconds`, part));

	return [
		element("div", "big", element("b", "", rates.at(-1).toFixed(rates.at(-1) < 10 ? 1 : 0)), element("span", "unit", "tokens/s")),
		spark(rates),
		facts([
			["First token", latency("first_token", 0.5)],
			["Between tokens", latency("between_tokens", 0.5)],
			["Slowest 5 %", latency("between_tokens", 0.95)],
			["Active", `${sum("active")} of ${sum("places")}`],
			["Waiting", `${sum("waiting")} of ${props.limits.queue * props.models.length}`],
			["Processor", `${cpu.toFixed(1)} cores`],
		]),
		element("h3", "section", "Memory"),
		...memoryBar(props.memory),
		element("h3", "section", "Models"),
		element("ul", "models-list", ...props.models.map(modelItem)),
		element("p", "load-note", `${props.version}; figures of the last ${SECONDS} seconds`),
	];
}

/* Asks while it is open and the page can be seen, and only then. */
export class Load {
	constructor(body, onProps) {
		this.body = body;
		this.onProps = onProps;
		this.samples = [];
		this.rates = [];
		this.open = false;
		this.timer = 0;
		document.addEventListener("visibilitychange", () => this.#schedule(0));
	}

	show(open) {
		this.open = open;
		if (open && this.body.childElementCount === 0)
			this.body.append(element("p", "load-note", "Asking…"));
		this.#schedule(0);
	}

	#schedule(ms) {
		clearTimeout(this.timer);
		if (this.open && !document.hidden)
			this.timer = setTimeout(() => this.#look(), ms);
	}

	async #look() {
		try {
			const [text, props] = await Promise.all([api.metrics(), api.props()]);
			const now = { at: performance.now(), ...readMetrics(text) };

			this.#take(now);
			this.body.replaceChildren(...figures(now, this.samples[0], this.rates, props));
			this.onProps(props);
		} catch (error) {
			this.samples = [];
			this.body.replaceChildren(element("p", "load-note", error.message));
		}
		this.#schedule(EVERY_MS);
	}

	#take(now) {
		const last = this.samples.at(-1);

		/* Another server counts from the beginning. */
		if (last && difference(now, last, "dunlin_steps_total") < 0)
			this.samples = [];
		this.rates.push(this.samples.length ? rateOf(now, this.samples.at(-1)) : 0);
		this.rates.splice(0, this.rates.length - POINTS);
		this.samples.push(now);
		while (this.samples.length > 2 && now.at - this.samples[0].at > SECONDS * 1000)
			this.samples.shift();
	}
}
