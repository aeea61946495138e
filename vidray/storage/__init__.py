"""Files on any fsspec URL: one way to open, list, read and write them. Knows nothing of what they hold."""

from vidray.storage.folder import Folder
from vidray.storage.places import filesystem, find, is_answering, is_local, local_path, open_uri, place_of, to_uri

__all__ = ["Folder", "filesystem", "find", "is_answering", "is_local", "local_path", "open_uri", "place_of", "to_uri"]
