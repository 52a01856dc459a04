#!/usr/bin/env python3
"""Checks what no formatter knows: `check_form.py [--fix]`. With --fix it mends what can be mended.

- No source file has more than 400 lines, and no line more than 120 columns, comments included.
- No C++ function has more than 80 lines, unless a comment directly above or at its top says why: "Long: ...".
- Separators are `// ---- title`, without trailing dashes, on a line of their own.
- Markdown is wrapped at 100 columns; tables, code, headings, and what cannot be broken may be wider.
"""
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES, FUNCTION_LINES, COLUMNS, MARKDOWN_COLUMNS = 400, 80, 120, 100
SOURCES = {".h", ".cpp", ".py", ".sh"}


def files():
    """The tree's sources and pages: not what builds, runs and tools leave, nor the tests' data."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(f for f in folders if not re.match(r"\.|build|__pycache__", f))
        if Path(folder) == ROOT / "tests":
            folders.remove("data")
        yield from (Path(folder, name) for name in sorted(names) if Path(name).suffix in {".md", *SOURCES})


# ---- sizes


def too_large(lines):
    if len(lines) > FILE_LINES:
        yield len(lines), f"{len(lines)} lines; a source file has at most {FILE_LINES}"
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS:
            yield number, f"{len(line)} columns; a line has at most {COLUMNS}"


# ---- functions


def without_text(source):
    """The source with spaces for comments, literals and preprocessor lines: its braces are those of the code."""
    blank = re.compile(
        r"""//[^\n]* | /\*.*?\*/ | R"(\w*)\(.*?\)\1" | "(?:\\.|[^"\\\n])*" | (?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'
            | ^[ \t]*\#(?:\\\n|[^\n])*""",
        re.X | re.S | re.M,
    )
    return blank.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), source)


def opens_function(head):
    """Whether a brace after `head`, the text since the last statement, opens a function's body."""
    head = re.sub(r"\boperator\s*[^\w\s(]+", "operator", head)
    head = re.sub(r"\btemplate\s*<[^{;]*?>\s*(?=\w)", "", head)
    plain = re.sub(r"\([^()]*\)", "()", re.sub(r"\([^()]*\)", "", head))
    if "(" not in head or re.search(r"\b(namespace|class|struct|union|enum)\b[^()]*$", plain):
        return False
    return "=" not in re.sub(r"\(.*\)", "", head, flags=re.S)


def functions(source):
    """(first line, line of the opening brace, last line) of each function that is not inside another, from 0."""
    code = without_text(source)
    head_from, parentheses, opened = 0, 0, []  # opened: the kinds of the braces around
    started = None
    for found in re.finditer(r"[{}();]", code):
        at, mark = found.start(), found[0]
        if mark in "()":
            parentheses += 1 if mark == "(" else -1
        elif mark == "{":
            head = code[head_from:at]
            member_init = re.search(r"\)[^()]*[^:]:[^:]", head) and re.search(r"[\w>]\s*$", head)
            inner = "function" in opened or parentheses > 0 or member_init
            kind = "inner" if inner else "function" if opens_function(head) else "scope"
            if kind == "function":
                started = head_from + len(head) - len(head.lstrip()), at
            if kind != "inner":
                head_from = at + 1
            opened.append(kind)
        elif mark == "}" and opened:
            kind = opened.pop()
            if kind == "function":
                yield tuple(code.count("\n", 0, i) for i in (*started, at))
            if kind != "inner":
                head_from = at + 1
        elif mark == ";" and parentheses == 0 and "function" not in opened:
            head_from = at + 1


def gives_reason(lines, first, opening):
    """Whether the comment above line `first`, or the one after the line of the opening brace, says why it is long."""
    comment, above, below = [], first - 1, opening + 1
    while above >= 0 and lines[above].lstrip().startswith("//"):
        comment.append(lines[above])
        above -= 1
    while below < len(lines) and lines[below].lstrip().startswith("//"):
        comment.append(lines[below])
        below += 1
    return any("Long: " in line for line in comment)


def long_functions(source):
    lines = source.splitlines()
    for first, opening, last in functions(source):
        count = last - first + 1
        if count > FUNCTION_LINES and not gives_reason(lines, first, opening):
            yield first + 1, f"a function of {count} lines; shorten it, or say why in a comment: Long: ..."


# ---- separators

SEPARATOR = re.compile(r"(\s*)(//|#)\s*-{3,}")


def mended_separators(source):
    lines = []
    for line in source.splitlines():
        found = SEPARATOR.match(line)
        if not found:
            lines.append(line)
            continue
        title = line[found.end() :].strip(" -")
        if title:
            lines.append(f"{found[1]}{found[2]} ---- {title}")
        elif not (lines and SEPARATOR.match(lines[-1])):  # else the tail of a broken one
            lines.append(line)
    return "\n".join(lines) + "\n"


# ---- Markdown

ITEM = re.compile(r"(\s*)([-*+]|\d+[.)])(\s+)(?=\S)")
# Code spans, images and the addresses of links are not broken.
WORD = re.compile(r"(?:!\[[^\]]*\]\([^)]*\)|\]\([^)]*\)|(`+)(?!`).+?(?<!`)\1(?!`)|\S)+")
# At the start of a line these would begin a block of their own.
BEGINS_BLOCK = re.compile(r"([-+*=]+|#{1,6}|\d+[.)]|>.*|\|.*|~~~.*|```.*)$")


def words(text):
    """The words of a paragraph; one that may not begin a line hangs on to the one before."""
    found = []
    for word in WORD.finditer(text):
        if found and BEGINS_BLOCK.match(word[0]):
            found[-1] += " " + word[0]
        else:
            found.append(word[0])
    return found


def wrapped(paragraph):
    """The lines of a paragraph or list item, filled anew if one is too long."""
    if all(len(line) <= MARKDOWN_COLUMNS for line in paragraph):
        return paragraph
    first = re.match(ITEM, paragraph[0])
    start = first[0] if first else re.match(r"\s*(> )?", paragraph[0])[0]
    later = start if start.endswith("> ") else " " * len(start)
    text = " ".join(line.removeprefix(start if i == 0 else later).strip() for i, line in enumerate(paragraph))
    lines, line = [], start
    for i, word in enumerate(words(text)):
        if i > 0 and len(line) + 1 + len(word) > MARKDOWN_COLUMNS:
            lines.append(line)
            line = later + word
        else:
            line += word if line in (start, later) else " " + word
    return [*lines, line]


def mended_markdown(text):
    """The text with its prose wrapped."""
    result, paragraph = [], []
    fence, content = "", 0  # content: the column at which the text of the list item around begins

    def close():
        result.extend(wrapped(paragraph))
        paragraph.clear()

    for line in text.splitlines():
        stripped = line.lstrip()
        indent = len(line) - len(stripped)
        item = ITEM.match(line)
        mark = re.match(r"```+|~~~+", stripped)
        if fence or mark:
            close()
            result.append(line)
            fence = "" if fence and stripped.startswith(fence) else fence or mark[0]
        elif not stripped or re.match(r"[#|<]|\[[^\]]+\]: |---+$", stripped):
            close()
            result.append(line)
        elif not paragraph and indent >= content + 4:
            result.append(line)  # indented code
        elif item or not paragraph:
            close()
            content = len(item[0]) if item else content if indent >= content else 0
            paragraph.append(line)
        else:
            paragraph.append(line)
        if paragraph and line.endswith(("  ", "\\")):
            close()
    close()
    return "\n".join(result) + "\n"


# ---- all of them


def first_difference(old, new):
    pairs = zip(old.splitlines(), [*new.splitlines(), ""])
    return next((number for number, (a, b) in enumerate(pairs, 1) if a != b), 1)


def check(path, fix):
    """The faults of a file as (line, text), after mending."""
    text = path.read_text()
    if path.suffix == ".md":
        mended, fault = mended_markdown(text), f"wider than {MARKDOWN_COLUMNS} columns"
    else:
        mended, fault = mended_separators(text), "a separator is `---- title`, without trailing dashes, on one line"
    if mended != text:
        if fix:
            path.write_text(mended)
        else:
            yield first_difference(text, mended), fault
    if path.suffix in SOURCES:
        yield from too_large(mended.splitlines())
    if path.suffix in {".h", ".cpp"}:
        yield from long_functions(mended)


def main():
    if sys.argv[1:] not in ([], ["--fix"]):
        sys.exit(__doc__)
    faults = [(path, *fault) for path in files() for fault in check(path, fix=len(sys.argv) > 1)]
    for path, line, text in faults:
        print(f"{path.relative_to(ROOT)}:{line}: {text}")
    print(f"{len(faults)} faults of form")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
