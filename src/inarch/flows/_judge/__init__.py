"""Parts of ``inarch evaluate judge``."""
