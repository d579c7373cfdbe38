"""Names for the engine's types, whose parameters say nothing: what a shared type holds is known by its shape only."""

from __future__ import annotations

from typing import Any

from pycrdt import Array, Doc, Map, Text, XmlFragment

AnyDoc = Doc[Any]
AnyMap = Map[Any]
AnyArray = Array[Any]
AnyRoot = Text | XmlFragment | AnyArray | AnyMap
"""What a root can be."""
