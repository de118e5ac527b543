"""A preprocessor of mdBook: the READMEs of the stock policies become chapters below "Stock policies".

They stand beside their code, outside of the folder that mdBook reads, and they and the pages here link to each other as files of the
checkout do. Pages that only include them would be odd to read in the checkout, so the book gets them on its way.
"""

import json
import re
import sys
from pathlib import Path

PLUGINS = Path(__file__).resolve().parent.parent / "plugins"


def chapters(items):
    """All chapters of a book, from the first to the last."""
    for chapter in (item["Chapter"] for item in items if "Chapter" in item):
        yield chapter
        yield from chapters(chapter["sub_items"])


def with_policies(book):
    # `sections` until mdBook 0.4.
    items = book.get("items") or book["sections"]
    for chapter in chapters(items):
        # ../plugins/router/README.md, from a folder below as ../../plugins/…
        chapter["content"] = re.sub(r"\]\(\.\./((?:\.\./)*)plugins/([\w-]+)/README\.md", r"](\1policies/\2.md", chapter["content"])
    parent = next(chapter for chapter in chapters(items) if chapter["path"] == "policies.md")
    for number, page in enumerate(sorted(PLUGINS.glob("*/README.md")), 1):
        name = page.parent.name
        content = re.sub(r"\]\(\.\./\.\./docs/", "](../", page.read_text("utf-8"))
        content = re.sub(r"\]\(\.\./([\w-]+)/README\.md", r"](\1.md", content)
        parent["sub_items"].append({"Chapter": {
            "name": name,
            "content": content,
            "number": [*parent["number"], number],
            "sub_items": [],
            "path": f"policies/{name}.md",
            "source_path": None,
            "parent_names": [*parent["parent_names"], parent["name"]],
        }})


# `supports RENDERER` is asked first: all of them.
if sys.argv[1:2] != ["supports"]:
    _, book = json.load(sys.stdin)
    with_policies(book)
    json.dump(book, sys.stdout)
