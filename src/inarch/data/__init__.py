"""Chats and texts as token rows with byte coordinates and a mask of what is to be learnt."""

from inarch.data.chats import Answer, Rendering, UnreadableChat, render
from inarch.data.corpus import DataSettings, digest, file_rows, read_raw, usable
from inarch.data.cut import cut_text, documents
from inarch.data.pad import Padded, pad
from inarch.data.rows import Reader, read
from inarch.data.store import Corpus, write_documents

__all__ = [
    "Answer",
    "Corpus",
    "DataSettings",
    "Padded",
    "Reader",
    "Rendering",
    "UnreadableChat",
    "cut_text",
    "digest",
    "documents",
    "file_rows",
    "pad",
    "read",
    "read_raw",
    "render",
    "usable",
    "write_documents",
]
