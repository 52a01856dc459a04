"""Reads public headers: what they declare, with the comments that say what it means. For make_reference.py."""

import re

ROOMS = ("autograd", "nn", "optim")


class Misread(Exception):
    """A declaration that the reader does not understand."""


# ---- reading a header


def public_headers(root):
    """The headers that are installed, by path."""
    for room in ROOMS:
        for header in sorted((root / room).rglob("*.h")):
            path = header.relative_to(root).as_posix()
            if "/internal/" not in path and not path.startswith("autograd/kernels/"):
                yield path, header.read_text()


class Reader:
    """Splits a scope's text into comments, statements and blocks."""

    TOKEN = re.compile(
        r"""(?P<doc>///<?[^\n]*) | (?P<comment>//[^\n]*) | (?P<hash>^[ \t]*\#(?:\\\n|[^\n])*)
          | (?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])') | (?P<mark>[{}();]) | (?P<space>[ \t\n]+)
          | (?P<code>[^\s{}();"'/\#]+|/|\#)""",
        re.X | re.M,
    )

    def __init__(self, path, text):
        self.path = path
        self.tokens = [(m.lastgroup, m[0]) for m in self.TOKEN.finditer(text)]
        self.at = 0

    def peek(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else (None, "")

    def take(self):
        token = self.peek()
        self.at += 1
        return token

    def skip_block(self):
        """Past the brace that closes one which was just read."""
        depth = 1
        while depth:
            kind, text = self.take()
            if kind is None:
                raise Misread(f"{self.path}: a brace is not closed")
            if kind == "mark":
                depth += {"{": 1, "}": -1}.get(text, 0)

    def trailing(self):
        """The `///<` comment, or a plain one, behind a declaration on its line, with what continues it below."""
        if (
            self.peek()[0] == "space"
            and "\n" not in self.peek()[1]
            and self.tokens[self.at + 1][0] in ("doc", "comment")
        ):
            self.take()
            lines = [strip(self.take()[1])]
            while self.continues():
                self.take()
                lines.append(strip(self.take()[1]))
            return " ".join(lines)
        return ""

    def continues(self):
        following = self.tokens[self.at : self.at + 2]
        return (
            len(following) == 2
            and following[0][0] == "space"
            and following[0][1].count("\n") == 1
            and following[1][1].startswith("///<")
        )


def strip(comment):
    return re.sub(r"^///?<? ?", "", comment).rstrip()


def parse(reader, in_class=None, public=True):
    """The items of a scope up to its closing brace: ("note", lines), ("title", text), ("declaration", dict)."""
    items, doc, note, code = [], [], [], ""
    gap = True  # whether a blank line, or nothing, stands above

    def flush_note():
        nonlocal note
        if note and public and not re.match(r"namespace( [\w:]+)?$", note[0]):
            if len(note) == 1 and note[0].startswith("---- "):
                items.append(("title", note[0][5:]))
            else:
                items.append(("note", note))
        note = []

    def declare(signature, members=None):
        nonlocal doc, gap
        tail = reader.trailing()
        if public and keep(signature, in_class, members is not None):
            if note and not doc and not gap_after_note:
                doc = list(note)
                note.clear()
            flush_note()
            entry = {"signature": tidy(signature), "doc": doc, "tail": tail, "members": members, "joined": not gap}
            items.append(("declaration", entry))
        doc, gap = [], False

    gap_after_note = True
    parentheses = 0
    while True:
        kind, text = reader.take()
        if kind is None or (kind == "mark" and text == "}" and not code.strip()):
            flush_note()
            return items
        if kind == "space":
            if not code and text.count("\n") > 1:
                gap = True
                flush_note()
                doc = []
            code += " " if code and not code.endswith(" ") else ""
        elif kind == "hash":
            continue
        elif kind == "doc" and not code.strip():
            flush_note()
            doc.append(strip(text))
        elif kind in ("doc", "comment") and code.strip():
            continue  # inside a declaration
        elif kind == "comment":
            note.append(strip(text))
        elif kind == "mark" and text == ";" and parentheses == 0:
            declare(code)
            code = ""
        elif kind == "mark" and text == "{" and parentheses == 0:
            code, public, handled = block(reader, code, items, in_class, public, declare)
            if handled:
                doc, gap = ([], False) if code == "" else (doc, gap)
        else:
            if kind == "mark" and text in "()":
                parentheses += 1 if text == "(" else -1
            code += text
            label = re.fullmatch(r"\s*(public|protected|private):", code)
            if in_class and label:
                flush_note()
                public, code, gap = label[1] != "private", "", True


def block(reader, code, items, in_class, public, declare):
    """What an opening brace begins, after `code`; returns (the code so far, public, whether the block is done)."""
    head = code.strip()
    found = re.match(r"(?:inline )?namespace ?([\w:]*)$", head)
    if found:
        if found[1] == "detail" or found[1].endswith("::detail") or not found[1]:
            reader.skip_block()
        else:
            items.extend(parse(reader))
        return "", public, True
    found = re.match(r"(?:template ?<.*> ?)?(?:requires.*? )?(class|struct|union|enum(?: class)?)\b", head)
    if found and "(" not in re.sub(r"<.*?>|alignas\(\w+\)|requires ?\(.*\)", "", head):
        name = re.search(r"(?:class|struct|union) (?:alignas\(\w+\) )?([\w:]+)", head)
        if found[1].startswith("enum"):
            members = enumerators(reader)
        else:
            members = parse(reader, name[1] if name else "?", public=found[1] != "class")
        rest = ""
        while reader.peek() != ("mark", ";"):
            rest += reader.take()[1]
        reader.take()
        if name and (head.endswith(">") or "<" in head[name.start() :].split(":")[0]) and name[1].startswith("std::"):
            return "", public, True
        declare(head + (" " + rest.strip() if rest.strip() else ""), members)
        return "", public, True
    if (
        re.search(r"(?:=|\w|>) ?$", head)
        and not re.search(r"\) ?(?:const|noexcept|override|&&?|requires.*)* ?$", head)
        and ("(" not in head or head.endswith("="))
    ):
        # A member's value in braces.
        reader.skip_block()
        return code + "{}", public, False
    if re.search(r"\)[^()]*[^:]:[^:]", head) and re.search(r"[\w>] ?$", head) and not head.endswith("const"):
        reader.skip_block()  # a constructor initialises a member in braces
        return code + "{}", public, False
    reader.skip_block()  # a function's body
    declare(code)
    return "", public, True


def enumerators(reader):
    """The list of an enumeration with its comments, as lines of code."""
    lines, line = [], ""
    depth = 1
    while depth:
        kind, text = reader.take()
        if kind is None:
            raise Misread(f"{reader.path}: an enumeration is not closed")
        if kind == "mark" and text == "}":
            depth -= 1
        elif kind in ("doc", "comment"):
            if line.strip():
                line += "  // " + strip(text)
                lines.append(line.strip())
            elif lines:
                lines[-1] += ("  // " if "//" not in lines[-1] else " ") + strip(text)
            line = ""
        elif kind == "space":
            if "\n" in text and line.endswith(",") and reader.peek()[0] not in ("doc",):
                lines.append(line.strip())
                line = ""
            else:
                line += " " if line else ""
        else:
            line += text
    if line.strip():
        lines.append(line.strip())
    return [("lines", lines)]


def keep(signature, in_class, defined):
    """Whether a declaration is for users: no friends, forward declarations, deleted ones, inherited constructors."""
    s = signature.strip()
    if not s or re.match(r"(friend|static_assert|extern|using namespace|template class|template struct)\b", s):
        return False
    if not defined and re.fullmatch(r"(template ?<.*> ?)?(class|struct|enum class) [\w:]+", s):
        return False
    if in_class and (re.fullmatch(r"[^()]*\w_( ?=.*|\{\})?", s) or re.search(r"operator (new|delete)", s)):
        return False
    if s.endswith("= delete") or re.match(r"template ?<> ?(class|struct)", s):
        return False
    if in_class and re.match(
        rf"(virtual )?~|using (\w+::)*(\w+)::\2$|(explicit )?{in_class} ?\( ?(const )?{in_class} ?&", s
    ):
        return False
    return not (in_class and re.search(r"operator= ?\((const )?%s ?&" % in_class, s))


def tidy(signature):
    """One line, without bodies, the call site, and words that a caller does not need."""
    s = re.sub(r"\s+", " ", signature).strip()
    s = re.sub(r"(\))( const| noexcept| override|&&?)* ?: (?!:).*$", lambda m: m[0].split(" : ")[0], s)
    s = re.sub(r",? ?Here here ?= ?(Here::current\(\)|\{\})(?=\))", "", s)
    s = re.sub(r"\b(inline|virtual|explicit) |\[\[noreturn\]\] ", "", s)
    s = re.sub(r"^((static )?)constexpr (?=[^=]*\()", r"\1", s)
    s = re.sub(r"\bstd::int64_t\b", "int64", re.sub(r" noexcept| override", "", s))
    s = re.sub(r" = child<.*$", "", s)
    return re.sub(r"\{\}$", "", s).strip()
