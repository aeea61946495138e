"""Files on any fsspec URL: one way to open, list, read and write them. Knows nothing of what they hold."""

from vidray.storage.folder import STAGING, STORE_FILE, Folder
from vidray.storage.places import filesystem, find, is_answering, is_local, local_path, open_uri, place_of, to_uri

__all__ = [
    "STAGING",
    "STORE_FILE",
    "Folder",
    "filesystem",
    "find",
    "is_answering",
    "is_local",
    "local_path",
    "open_uri",
    "place_of",
    "to_uri",
]
