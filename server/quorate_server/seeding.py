"""What new documents start with: the texts of a folder, one file a document.

`FOLDER/text/welcome.md` is the seed of the document `text/welcome`. A seed is deterministic to the byte (a
fixed client id, one insertion), so that two servers that seeded the same name would still merge to one text.
"""

from __future__ import annotations

from pathlib import Path

from pycrdt import Doc, Text

from quorate_protocol.ids import DocumentName
from quorate_server.documents import SEED_CLIENT_ID
from quorate_server.rooms import Seeder, no_seed

TEXT_ROOT = "text"
"""The Yjs root that holds the body of a plain text document."""

_PACKAGED = Path(__file__).parent / "seeds" / "workspace"
_CHECKOUT = Path(__file__).parents[2] / "seeds" / "workspace"


def seeds_folder() -> Path | None:
    """Return the folder of the sample workspace: the packaged copy, else the checkout's."""
    return next((folder for folder in (_PACKAGED, _CHECKOUT) if folder.is_dir()), None)


def text_seed(text: str) -> bytes:
    """Return the update that makes an empty document hold `text`; the same bytes for the same text."""
    doc: Doc[Text] = Doc(client_id=SEED_CLIENT_ID)
    body = doc.get(TEXT_ROOT, type=Text)
    body += text
    return doc.get_update()


def seeder_from(folder: Path | None) -> Seeder:
    """Return the seeder of a folder, read once; without a folder nothing is seeded."""
    if folder is None:
        return no_seed
    seeds = {
        path.relative_to(folder).with_suffix("").as_posix(): text_seed(path.read_text("utf-8"))
        for path in sorted(folder.rglob("*.md"))
    }

    def seed(name: DocumentName) -> bytes:
        return seeds.get(name, b"")

    return seed


def seeded_names(folder: Path | None) -> list[str]:
    """Return the names of the documents that a folder seeds."""
    if folder is None:
        return []
    return [p.relative_to(folder).with_suffix("").as_posix() for p in sorted(folder.rglob("*.md"))]
