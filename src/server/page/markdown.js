/* SPDX-License-Identifier: MIT */
/*
 * Markdown, as models write it, into elements. Nothing here makes an element of what it is given but
 * by createElement(), and text by textContent: no answer can bring a tag or an attribute of its own.
 * Times are linear in the text and depths bounded, whatever the text is.
 */

const DEPTH = 6; /* of lists and quotes */
const OPEN = 16; /* emphases that are open at once, and so their depth */
const INLINE_MAX = 20000; /* a longer run of text is shown as it is */
const COLUMNS = 32;
const ROWS = 1000;
const BLOCK_MAX = 60000; /* a longer block that is no code is shown as it is */

const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*([^`\s]*)[^`]*$/;
const FENCE_MAX = 300; /* of a line: what is longer is none, and costs no time */
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+|$)/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}>[ ]?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])([ \t]+|$)/;
const DELIMITERS = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*(?:\|[ \t]*)?$/;

export function element(name, className, ...children) {
	const made = document.createElement(name);

	if (className)
		made.className = className;
	made.append(...children);
	return made;
}

/* Without those of @marks that are last; a pattern would try again at each of them. */
function withoutEnd(text, marks) {
	let end = text.length;

	while (end > 0 && marks.includes(text[end - 1]))
		end--;
	return text.slice(0, end);
}

/* Only what is on the web: no script, no data, no file. */
function safeAddress(text) {
	try {
		const url = new URL(text);

		return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
	} catch {
		return null;
	}
}

function link(address, ...children) {
	const made = element("a", "", ...children);

	made.href = address;
	made.target = "_blank";
	made.rel = "noopener noreferrer";
	return made;
}

/* Inline. */

const CODE = /(`+)/g;
const LINK = /(!?)\[((?:[^[\]\\\n]|\\.){0,1000})\]\([ \t]*<?([^\s<>()]{0,2000}(?:\([^\s<>()]{0,200}\)[^\s<>()]{0,200}){0,4})>?(?:[ \t]+"[^"\n]{0,500}")?[ \t]*\)/y;
const AUTO = /https?:\/\/[^\s<>"'`|\\^{}]{1,2000}/y;
const WORD = /[\p{L}\p{N}]/u;

/*
 * Puts nodes behind each other in a parent; an emphasis that closes takes in what came behind the
 * node that may have opened it.
 */
class Inline {
	constructor(text, links) {
		this.text = text;
		this.links = links;
		this.at = 0;
		this.plain = "";
		this.out = document.createDocumentFragment();
		this.opened = [];
		this.noCode = new Set(); /* lengths of backticks that have no partner any more */
	}

	flush() {
		if (this.plain)
			this.out.append(this.plain);
		this.plain = "";
	}

	put(node) {
		this.flush();
		this.out.append(node);
	}

	code() {
		CODE.lastIndex = this.at;
		const ticks = CODE.exec(this.text)[1];
		const begin = this.at + ticks.length;

		if (!this.noCode.has(ticks.length)) {
			for (let match; (match = CODE.exec(this.text));)
				if (match[1].length === ticks.length) {
					let inside = this.text.slice(begin, match.index).replace(/\n/g, " ");

					if (inside.startsWith(" ") && inside.endsWith(" ") && inside.trim())
						inside = inside.slice(1, -1);
					this.put(element("code", "", inside));
					this.at = CODE.lastIndex;
					return;
				}
			this.noCode.add(ticks.length);
		}
		this.plain += ticks;
		this.at = begin;
	}

	/* A picture is a link to it: nothing is loaded from elsewhere. */
	bracket() {
		LINK.lastIndex = this.at;
		const match = this.links ? LINK.exec(this.text) : null;
		const address = match && safeAddress(match[3]);

		if (!address) {
			this.plain += this.text[this.at++];
			return;
		}
		this.put(link(address, match[2] ? inline(match[2], false) : match[3]));
		this.at = LINK.lastIndex;
	}

	auto() {
		AUTO.lastIndex = this.at;
		let text = this.links ? AUTO.exec(this.text)?.[0] : null;

		text = text && withoutEnd(text, ".,;:!?*_~");
		if (text?.endsWith(")") && !text.includes("("))
			text = withoutEnd(text, ")");
		const address = text && safeAddress(text);

		if (!address) {
			this.plain += this.text[this.at++];
			return;
		}
		this.put(link(address, text));
		this.at += text.length;
	}

	/* Those between the opening node and here become the element's. */
	close(index, name) {
		const opener = this.opened[index];
		const made = element(name);

		this.flush();
		while (opener.node.nextSibling)
			made.append(opener.node.nextSibling);
		opener.node.replaceWith(made);
		this.opened.length = index;
	}

	emphasis() {
		const mark = this.text[this.at];
		let size = 1;

		while (this.text[this.at + size] === mark)
			size++;
		const before = this.text[this.at - 1] ?? " ";
		const after = this.text[this.at + size] ?? " ";
		const inWord = mark === "_" && WORD.test(before) && WORD.test(after);
		let left = size > 3 || (mark === "~" && size !== 2) ? 0 : size;

		this.at += size;
		if (left === 0) {
			this.plain += mark.repeat(size);
			return;
		}
		for (let i = this.opened.length - 1; i >= 0 && left > 0 && !/\s/.test(before) && !inWord; i--) {
			const opener = this.opened[i];

			if (opener.mark !== mark || opener.size > left)
				continue;
			this.close(i, mark === "~" ? "del" : opener.size === 2 ? "strong" : "em");
			left -= opener.size;
		}
		/* Three open as one of two within one of one. */
		for (const n of left === 3 ? [1, 2] : left ? [left] : []) {
			const node = document.createTextNode(mark.repeat(n));

			this.put(node);
			if (!/\s/.test(after) && !inWord && this.opened.length < OPEN)
				this.opened.push({ mark, size: n, node });
		}
	}

	line() {
		const hard = this.plain.endsWith("  ") || this.plain.endsWith("\\");

		this.plain = withoutEnd(this.plain, " \\");
		this.put(hard ? element("br") : "\n");
		this.at++;
	}

	run() {
		while (this.at < this.text.length) {
			const c = this.text[this.at];

			if (c === "\\" && /[!-/:-@[-`{-~]/.test(this.text[this.at + 1] ?? "")) {
				this.plain += this.text[this.at + 1];
				this.at += 2;
			} else if (c === "`") {
				this.code();
			} else if (c === "[" || (c === "!" && this.text[this.at + 1] === "[")) {
				this.bracket();
			} else if (c === "*" || c === "_" || c === "~") {
				this.emphasis();
			} else if (c === "h" && !WORD.test(this.text[this.at - 1] ?? " ")) {
				this.auto();
			} else if (c === "\n") {
				this.line();
			} else {
				this.plain += c;
				this.at++;
			}
		}
		this.flush();
		return this.out;
	}
}

function inline(text, links = true) {
	if (text.length > INLINE_MAX)
		return document.createTextNode(text);
	return new Inline(text, links).run();
}

/* Blocks: found by lines, from the first one to the one behind the last. */

function fenceOf(line) {
	return line.length > FENCE_MAX ? null : FENCE.exec(line);
}

function cells(line) {
	const text = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");

	return text.split(/(?<!\\)\|/, COLUMNS).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function isTable(lines, at) {
	return at + 1 < lines.length && lines[at].includes("|") && lines[at + 1].includes("-") &&
		lines[at + 1].length < 2000 && DELIMITERS.test(lines[at + 1]) &&
		cells(lines[at]).length === cells(lines[at + 1]).length;
}

function isBlank(line) {
	return line.trim() === "";
}

function endOfFence(lines, at, mark) {
	let end = at + 1;

	for (; end < lines.length; end++) {
		const text = lines[end].trim();

		if (text.length >= mark.length && text === mark[0].repeat(text.length))
			return [end + 1, true];
	}
	return [end, false];
}

function indent(line) {
	return line.length - line.trimStart().length;
}

/* To the first line that is neither an item nor belongs to one. */
function endOfList(lines, at) {
	const ordered = /\d/.test(ITEM.exec(lines[at])[2]);
	let blank = false;
	let end = at + 1;

	for (; end < lines.length; end++) {
		const line = lines[end];
		const item = ITEM.exec(line);

		if (isBlank(line)) {
			blank = true;
			continue;
		}
		const goesOn = item ? /\d/.test(item[2]) === ordered && !RULE.test(line)
			: !blank && !fenceOf(line) && !HEADING.test(line) && !QUOTE.test(line);

		if (!goesOn && indent(line) < 2)
			break;
		blank = false;
	}
	while (end > at + 1 && isBlank(lines[end - 1]))
		end--;
	return end;
}

function startsBlock(lines, at) {
	const line = lines[at];

	return fenceOf(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) ||
		ITEM.test(line) || isTable(lines, at);
}

function nextBlock(lines, at) {
	const line = lines[at];
	const fence = fenceOf(line);
	let end = at + 1;

	if (fence) {
		const [behind, closed] = endOfFence(lines, at, fence[1]);

		return { kind: "code", at, end: behind, closed, language: fence[2] };
	}
	if (HEADING.test(line))
		return { kind: "heading", at, end };
	if (RULE.test(line))
		return { kind: "rule", at, end };
	if (QUOTE.test(line)) {
		while (end < lines.length && !isBlank(lines[end]) && (QUOTE.test(lines[end]) || !startsBlock(lines, end)))
			end++;
		return { kind: "quote", at, end };
	}
	if (ITEM.test(line))
		return { kind: "list", at, end: endOfList(lines, at) };
	if (isTable(lines, at)) {
		for (end = at + 2; end < lines.length && !isBlank(lines[end]) && lines[end].includes("|");)
			end++;
		return { kind: "table", at, end };
	}
	while (end < lines.length && !isBlank(lines[end]) && !startsBlock(lines, end))
		end++;
	return { kind: "paragraph", at, end };
}

function* blocksOf(lines) {
	for (let at = 0; at < lines.length;) {
		if (isBlank(lines[at])) {
			at++;
			continue;
		}
		const block = nextBlock(lines, at);

		yield block;
		at = block.end;
	}
}

function codeBlock(block, lines) {
	const text = lines.slice(block.at + 1, block.closed ? block.end - 1 : block.end).join("\n");
	const code = element("code", "", text);
	const pre = element("pre", "", code);
	const copy = element("button", "", "Copy");
	const label = block.language.slice(0, 24) || "text";

	pre.tabIndex = 0;
	pre.setAttribute("role", "region");
	pre.setAttribute("aria-label", `Code, ${label}`);
	copy.type = "button";
	copy.dataset.copy = "code";
	return element("div", "code", element("div", "code-head", element("span", "", label), copy), pre);
}

function heading(line) {
	const level = HEADING.exec(line)[1].length;
	const text = line.replace(HEADING, "").replace(/[ \t]#+[ \t]*$/, "");

	/* The page has a heading of its own, and the message another. */
	return element(`h${Math.min(level + 2, 6)}`, "", inline(text.trim()));
}

function quote(lines, depth) {
	const made = element("blockquote");

	render(made, lines.map((line) => line.replace(QUOTE, "")), depth + 1);
	return made;
}

/* The items' lines, without marker and indentation. */
function itemsOf(lines) {
	const ordered = /\d/.test(ITEM.exec(lines[0])[2]);
	const items = [];
	let width = 0;

	for (const line of lines) {
		const item = ITEM.exec(line);
		const same = item && /\d/.test(item[2]) === ordered;

		if (item && (indent(line) < Math.min(width, 2) || items.length === 0 || (same && indent(line) < width))) {
			width = item[1].length + item[2].length + Math.min(Math.max(item[3].length, 1), 4);
			items.push([line.slice(item[0].length)]);
		} else {
			items.at(-1).push(line.slice(Math.min(indent(line), width)));
		}
	}
	return items;
}

function list(lines, depth) {
	const number = parseInt(ITEM.exec(lines[0])[2], 10);
	const made = element(Number.isNaN(number) ? "ul" : "ol");

	if (number > 1)
		made.start = number;
	for (const item of itemsOf(lines)) {
		const one = element("li");

		render(one, item, depth + 1);
		/* Of tight lists, the text itself. */
		if (one.firstElementChild?.localName === "p" && !item.some(isBlank))
			one.firstElementChild.replaceWith(...one.firstElementChild.childNodes);
		made.append(one);
	}
	return made;
}

function table(lines) {
	const sides = cells(lines[1]).map((cell) => cell.endsWith(":") ? cell.startsWith(":") ? "middle" : "right" : "");
	const row = (line, name) => element("tr", "", ...sides.map((side, i) => element(name, side, inline(cells(line)[i] ?? ""))));
	const body = element("tbody", "", ...lines.slice(2, ROWS).map((line) => row(line, "td")));
	const made = element("div", "table", element("table", "", element("thead", "", row(lines[0], "th")), body));

	made.tabIndex = 0;
	made.setAttribute("role", "region");
	made.setAttribute("aria-label", "Table");
	return made;
}

function blockElement(block, lines, depth) {
	const own = lines.slice(block.at, block.end);

	if (block.kind !== "code" && own.reduce((sum, line) => sum + line.length, 0) > BLOCK_MAX)
		return element("p", "raw", own.join("\n"));
	switch (block.kind) {
	case "code":
		return codeBlock(block, lines);
	case "heading":
		return heading(own[0]);
	case "rule":
		return element("hr");
	case "table":
		return table(own);
	case "quote":
		if (depth < DEPTH)
			return quote(own, depth);
		break;
	case "list":
		if (depth < DEPTH)
			return list(own, depth);
		break;
	default:
	}
	return element("p", "", inline(own.map((line) => line.replace(/^[ \t]+/, "")).join("\n")));
}

function render(parent, lines, depth) {
	for (const block of blocksOf(lines))
		parent.append(blockElement(block, lines, depth));
}

/*
 * An answer that grows: blocks but the last are done once and for all, the last is made anew, and code
 * in it that is not yet closed only gets its new text.
 */
export class Markdown {
	constructor(parent) {
		this.parent = parent;
		this.settled = 0; /* characters of blocks that are done */
		this.last = null;
		this.openCode = null;
	}

	#extendCode(rest) {
		const { node, length, mark } = this.openCode;
		const more = rest.slice(length);

		/* A line that may close it, or the beginning of one, is left to the parser. */
		if (more.includes(mark[0]) || rest.slice(0, length).endsWith(mark[0]) || length > rest.length)
			return false;
		node.appendData(more);
		this.openCode.length = rest.length;
		return true;
	}

	#settle(lines, at) {
		for (let i = 0; i < at; i++)
			this.settled += lines[i].length + 1;
	}

	/* @text: all of it so far. */
	update(text) {
		const rest = text.slice(this.settled);

		if (this.openCode && this.#extendCode(rest))
			return;
		const lines = rest.split("\n");
		const blocks = [...blocksOf(lines)];
		const last = blocks.at(-1);

		this.last?.remove();
		this.last = this.openCode = null;
		for (const block of blocks)
			this.parent.append(blockElement(block, lines, 0));
		if (!last)
			return;
		this.last = this.parent.lastElementChild;
		this.#settle(lines, last.at);
		/* Its first line is whole, so that what comes is code. */
		if (last.kind === "code" && !last.closed && last.at + 1 < lines.length)
			this.openCode = {
				node: this.last.querySelector("pre > code").firstChild,
				length: text.length - this.settled,
				mark: fenceOf(lines[last.at])[1],
			};
	}
}
