"""What a source model believes about documents, and how that is kept on disk."""

from inarch.teach.settings import TeachSettings

__all__ = ["TeachSettings"]
