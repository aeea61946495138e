"""Translations and what language models write: the library's own answers on seeded networks, at the texts' times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_networks import LONGEST, converted, many_languages_folder, t5_folder, translator_folder, writer_folder

from vidray.errors import UsageError, WeightsError
from vidray.extractors import describe, resolve, restore
from vidray.extractors.text.generation import Generate
from vidray.extractors.text.sentiment import Sentiment
from vidray.extractors.text.translation import Translation
from vidray.media import Clip, ClipInput

transformers = pytest.importorskip("transformers")

TEXTS = ("The harvest was late this year.", "Nobody minded the rain.", "A bridge!")


def clips(*rows: dict[str, Any] | None) -> list[ClipInput]:
    return [
        ClipInput(
            clip=Clip(
                clip_id=str(place),
                video_id="v",
                uri="u",
                clip_index=place,
                start_s=10.0 * place,
                end_s=10.0 * place + 10,
            ),
            values={"text": row},
        )
        for place, row in enumerate(rows)
    ]


def segment(text: str, start_s: float, language: str = "en") -> dict[str, Any]:
    return {"start_s": start_s, "end_s": start_s + 3, "text": text, "language": language, "invented": None}


def said(*texts: str) -> list[ClipInput]:
    return clips(*({"text": text, "segments": [segment(text, 10.0 * n)]} for n, text in enumerate(texts)))


def librarys_translations(folder: str, texts: tuple[str, ...], *, tokens: int = LONGEST, **options: Any) -> list[str]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    found = []
    for text in texts:
        encoded = tokenizer(text, return_tensors="pt")
        written = network.generate(
            encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            do_sample=False,
            num_beams=1,
            max_new_tokens=tokens,
            **options,
        )
        found.append(tokenizer.batch_decode(written, skip_special_tokens=True)[0].strip())
    return found


def test_translations_are_the_librarys_own_and_keep_their_times(tmp_path: Path):
    folder = translator_folder(tmp_path / "model")
    rows: Any = Translation(to="de", model=folder).load("cpu")(said(*TEXTS))
    wanted = librarys_translations(folder, TEXTS)
    assert rows["text"] == wanted
    assert len(set(wanted)) > 1
    spans = [(one["start_s"], one["end_s"]) for some in rows["segments"] for one in some]
    assert spans == [(0.0, 3.0), (10.0, 13.0), (20.0, 23.0)]
    assert rows["language"] == ["de"] * 3


def test_what_is_in_the_language_already_is_left_as_it_is(tmp_path: Path):
    extract: Any = Translation(to="en", model=translator_folder(tmp_path / "model")).load("cpu")
    rows = extract([*said(TEXTS[0]), *clips(None)])
    assert rows["text"] == [TEXTS[0], ""]
    assert rows["language"] == ["en", None]


def test_a_piece_of_a_word_that_is_written_as_a_language_is_not_taken_for_it(tmp_path: Path):
    folder = translator_folder(tmp_path / "model")
    assert "d" in transformers.AutoTokenizer.from_pretrained(folder).get_vocab()
    rows: Any = Translation(to="d", model=folder).load("cpu")(said(*TEXTS))
    assert rows["text"] == librarys_translations(folder, TEXTS)


def test_a_model_of_many_languages_is_told_which(tmp_path: Path):
    folder = translator_folder(tmp_path / "model", languages=("de_DE", "fr_XX", ">>it<<"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    found = {}
    for to in ("de_DE", "fr_XX"):
        rows: Any = Translation(to=to, model=folder).load("cpu")(said(*TEXTS))
        first = tokenizer.convert_tokens_to_ids(to)
        assert rows["text"] == librarys_translations(folder, TEXTS, forced_bos_token_id=first)
        found[to] = rows["text"]
    assert found["de_DE"] != found["fr_XX"]
    rows = Translation(to="it", model=folder).load("cpu")(said(*TEXTS))
    assert rows["text"] == librarys_translations(folder, tuple(f">>it<< {text}" for text in TEXTS))


def librarys_writing(folder: str, prompt: str, tokens: int) -> str:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    encoded = tokenizer(prompt, return_tensors="pt")
    ids = encoded["input_ids"]
    written = network.generate(
        ids, attention_mask=encoded["attention_mask"], do_sample=False, num_beams=1, max_new_tokens=tokens
    )
    return str(tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)).strip()


def test_what_is_generated_is_the_librarys_own(tmp_path: Path):
    folder = writer_folder(tmp_path / "model")
    prompt = "Title: {text} |"
    extract: Any = Generate(model=folder, prompt=prompt, tokens=20).load("cpu")
    found = extract(clips(*({"text": text} for text in (*TEXTS, ""))))["generated"]
    assert found == [*(librarys_writing(folder, prompt.replace("{text}", text), 20) for text in TEXTS), None]
    assert len(set(found[:3])) == 3
    long = extract(clips({"text": "rain " * 100}))["generated"][0]
    room = LONGEST - 20 - len("<" + prompt.replace("{text}", ""))
    assert long == librarys_writing(folder, prompt.replace("{text}", ("rain " * 100)[:room]), 20)


def test_a_prompt_may_have_braces_and_say_the_text_twice(tmp_path: Path):
    folder = writer_folder(tmp_path / "model")
    prompt = "{a} {text} {} again {text} |"
    extract: Any = Generate(model=folder, prompt=prompt, tokens=20).load("cpu")
    found = extract(clips({"text": "a {text} rain"}, {"text": "rain " * 100}))["generated"]
    room = (LONGEST - 20 - len("<{a}  {} again  |")) // 2
    assert found == [
        librarys_writing(folder, "{a} " + text + " {} again " + text + " |", 20)
        for text in ("a {text} rain", ("rain " * 100)[:room])
    ]


def test_a_conversation_has_the_models_own_form(tmp_path: Path):
    template = "{% for one in messages %}<{{ one.role }}>{{ one.content }}{% endfor %}|"
    folder = writer_folder(tmp_path / "model", template=template)
    extract: Any = Generate(model=folder, prompt="Sum up: {text}", tokens=12).load("cpu")
    found = extract(clips({"text": TEXTS[0]}))["generated"]
    assert found == [librarys_writing(folder, f"<user>Sum up: {TEXTS[0]}|", 12)]


@pytest.mark.parametrize(
    "folder_of", [t5_folder, lambda folder: many_languages_folder(folder, ("deu_Latn", "fra_Latn"))]
)
def test_networks_in_ctranslate2s_format_translate_as_those_they_were_made_from(tmp_path: Path, folder_of: Any):
    folder = folder_of(tmp_path / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    found, model = {}, converted(folder)
    for to in ("deu_Latn", "fra_Latn"):
        rows: Any = Translation(to=to, model=model).load("cpu")(said(*TEXTS))
        first = tokenizer.get_vocab().get(to)
        more = {} if first is None else {"forced_bos_token_id": first}
        assert rows["text"] == librarys_translations(folder, TEXTS, **more)
        found[to] = rows["text"]
    assert (found["deu_Latn"] != found["fra_Latn"]) == ("deu_Latn" in tokenizer.get_vocab())


def test_language_models_in_ctranslate2s_format_write_as_those_they_were_made_from(tmp_path: Path):
    folder = writer_folder(tmp_path / "model")
    extract: Any = Generate(model=converted(folder), prompt="Title: {text} |", tokens=20).load("cpu")
    found = extract(clips(*({"text": text} for text in TEXTS)))["generated"]
    assert found == [librarys_writing(folder, f"Title: {text} |", 20) for text in TEXTS]


def test_a_folder_in_ctranslate2s_format_is_known_by_its_files_and_refused_by_its_kind(tmp_path: Path):
    folder = converted(writer_folder(tmp_path / "model"))
    spec = describe(Generate(model=folder))
    assert restore(spec) == Generate(model=folder)
    Path(folder, "model.bin").write_bytes(b"other weights")
    assert describe(Generate(model=folder))["weights"] != spec["weights"]
    with pytest.raises(WeightsError, match=r"generate: the model .* cannot be loaded"):
        Generate(model=folder).load("cpu")
    with pytest.raises(WeightsError, match="it is a language model, and does not translate"):
        Translation(to="de", model=folder).load("cpu")
    bare = converted(t5_folder(tmp_path / "t5"), copy=())
    with pytest.raises(WeightsError, match=r"has no tokenizer: convert the model with --copy_files tokenizer\.json"):
        Translation(to="de", model=bare).load("cpu")


def test_a_network_that_reads_first_is_asked_and_writes_on_what_is_cut_to_fit(tmp_path: Path):
    folder = t5_folder(tmp_path / "model")
    extract: Any = Generate(model=folder, prompt="Title: {text}", tokens=20).load("cpu")
    found = extract(clips({"text": TEXTS[0]}, {"text": "rain " * 100}))["generated"]
    room = LONGEST - len("<Title: ")
    for one, text in zip(found, (TEXTS[0], ("rain " * 100)[:room]), strict=True):
        (written,) = librarys_translations(folder, (f"Title: {text}",), tokens=20)
        assert one == written


def test_a_translation_is_a_text_to_others_and_a_store_restores_it(tmp_path: Path):
    folder = translator_folder(tmp_path / "model")
    extractor = resolve(f"translation?to=de&model={folder}")
    assert restore(describe(extractor)) == extractor == Translation(to="de", model=folder)
    rows: Any = Translation(to="en", model=folder).load("cpu")(said("What a lovely day."))
    judged, _ = Sentiment().load("cpu")(clips({name: rows[name][0] for name in ("text", "segments")}))
    assert judged["sentiment"] == ["positive"]


def test_options_that_lack_or_make_no_sense_are_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="needs both options, got to=None, model=x"):
        describe(resolve("translation?model=x"))
    with pytest.raises(UsageError, match="needs a model, got none"):
        describe(resolve("generate"))
    with pytest.raises(UsageError, match="prompt must say where the text goes"):
        resolve("generate?model=x&prompt=hello")
    with pytest.raises(UsageError, match="tokens must be less than the 128"):
        Generate(model=writer_folder(tmp_path / "model"), tokens=500).load("cpu")
    with pytest.raises(UsageError, match=r"generate: the prompt takes 201 of the 118 tokens that .* reads"):
        Generate(model=str(tmp_path / "model"), prompt="why " * 50 + "{text}", tokens=10).load("cpu")
    with pytest.raises(WeightsError, match=r"translation: the model .* cannot be loaded"):
        Translation(to="de", model=str(tmp_path / "model")).load("cpu")
