#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""embed.py OUTPUT FILE...: the files of the page as a C source (page.h)."""

import hashlib
import pathlib
import sys

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
PER_LINE = 24


def main():
    output, *names = map(pathlib.Path, sys.argv[1:])
    lines = ["/* Made by embed.py. */", '#include "server/page/page.h"', ""]
    table = []
    for number, path in enumerate(names):
        data = path.read_bytes()
        where = "/" if path.name == "index.html" else f"/page/{path.name}"
        etag = hashlib.sha256(data).hexdigest()[:32]
        lines.append(f"static const unsigned char file_{number}[] = {{")
        lines += ["\t" + "".join(f"{byte}," for byte in data[at:at + PER_LINE])
                  for at in range(0, len(data), PER_LINE)]
        lines += ["};", ""]
        table.append(f'\t{{ "{where}", "{TYPES[path.suffix]}", "\\"{etag}\\"", file_{number}, '
                     f"sizeof(file_{number}) }},")
    lines += ["const struct dn_page_file dn_page_files[] = {", *table, "};", "",
              f"const size_t dn_page_count = {len(table)};", ""]
    output.write_text("\n".join(lines), encoding="ascii")


if __name__ == "__main__":
    main()
