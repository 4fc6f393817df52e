/* SPDX-License-Identifier: MIT */
/* Before the first paint, so that nothing flashes: the theme that was chosen, if one was. */
"use strict";
try {
	const theme = localStorage.getItem("dunlin.theme");

	if (theme === "light" || theme === "dark")
		document.documentElement.dataset.theme = theme;
} catch {
	/* A browser that keeps nothing has the system's theme. */
}
