"""How texts become words that an index compares: as they stand, by a language's stems, or as a query means them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

EXACT = "exact"
"""The field of words as they stand, in lower case; the others are of stems, `stem_<language>`."""

STEMMERS = {
    "ar": "arabic", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish", "fi": "finnish",
    "fr": "french", "hu": "hungarian", "it": "italian", "nl": "dutch", "no": "norwegian", "pt": "portuguese",
    "ro": "romanian", "ru": "russian", "sv": "swedish", "ta": "tamil", "tr": "turkish",
}  # fmt: skip
"""tantivy's stemmers by the codes of languages; texts of other languages, and of unknown ones, are found by whole
words."""

STOP_WORDS = frozenset({
    "danish", "dutch", "english", "finnish", "french", "german", "hungarian", "italian", "norwegian", "portuguese",
    "russian", "spanish", "swedish",
})  # fmt: skip
"""Languages for which tantivy has a list of words that say nothing, as `the`."""
ASKING = [
    "about", "anybody", "anyone", "can", "did", "do", "does", "from", "has", "have", "he", "how", "i", "mention",
    "mentioned", "mentions", "one", "said", "say", "says", "she", "somebody", "someone", "speak", "speaks", "talk",
    "talking", "talks", "tell", "tells", "us", "we", "were", "what", "when", "where", "which", "who", "whose", "why",
    "you",
]  # fmt: skip
"""English words with which questions are put; tantivy's own list, Lucene's, has none of them."""


def register(index: Any, languages: Sequence[str]) -> dict[str, Any]:
    """The analyzers of the fields, by name."""
    import tantivy

    found = {}
    for language in (None, *languages):
        chain = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).filter(tantivy.Filter.lowercase())
        if language is not None:
            chain = chain.filter(tantivy.Filter.stemmer(STEMMERS[language]))
        field = EXACT if language is None else f"stem_{language}"
        found[field] = chain.build()
        index.register_tokenizer(field, found[field])
    return found


def asker(field: str, languages: Sequence[str]) -> Any:
    """The analyzer of a field for queries: words that say nothing in its language, or in any of the index's, go."""
    import tantivy

    stemmed = [language for language in languages if field == f"stem_{language}"]
    chain = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).filter(tantivy.Filter.lowercase())
    for language in stemmed or languages or ("en",):
        if STEMMERS[language] in STOP_WORDS:
            chain = chain.filter(tantivy.Filter.stopword(STEMMERS[language]))
        if language == "en":
            chain = chain.filter(tantivy.Filter.custom_stopword(ASKING))
    for language in stemmed:
        chain = chain.filter(tantivy.Filter.stemmer(STEMMERS[language]))
    return chain.build()
