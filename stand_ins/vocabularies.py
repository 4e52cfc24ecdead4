"""Small tokenizers of the kinds that checkpoints have, trained here on a corpus of many scripts.

The published vocabularies are large and live on a hub; a conversion that is exact for a tokenizer
of the same kind (algorithm, normaliser, special tokens, file format) is exact for them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tritonclip_export.samples import sample_texts

# One everyday scene and one odd sentence a language.
SENTENCES = {
    "eng_Latn": "A cat sits on the mat. Don't panic: it's 5 o'clock, the Café's closed (again...)!",
    "deu_Latn": "Ein Hund läuft über die Wiese. Die Straße heißt „Fußgängerübergang“.",
    "fra_Latn": "Le garçon mange une crêpe à l’île. Où est-elle ? Là-bas, œuvre d’Ève.",
    "tur_Latn": "İstanbul'da ılık bir gün, IŞIK ve ışık. Kediler çatıda uyuyor.",
    "vie_Latn": "Một con mèo đang ngồi trên tấm thảm. Người Việt rất thích phở.",
    "rus_Cyrl": "Кошка сидит на ковре. Ёжик в тумане, съешь ещё этих булок.",
    "ell_Grek": "Η γάτα κάθεται στο χαλί. ΟΔΥΣΣΕΥΣ, ο ήρωας της Ιθάκης.",
    "arb_Arab": "القطة تجلس على السجادة. اللُّغَةُ العَرَبِيَّةُ جميلةٌ جدًّا.",
    "heb_Hebr": "חתול יושב על מחצלת. שָׁלוֹם עֲלֵיכֶם לכולם.",
    "hin_Deva": "बिल्ली चटाई पर बैठी है। हिन्दी में लिखना आसान है।",
    "ben_Beng": "বিড়ালটি মাদুরে বসে আছে। বাংলা ভাষা সুন্দর।",
    "tam_Taml": "பூனை பாயில் அமர்ந்திருக்கிறது. தமிழ் இனிது.",
    "tha_Thai": "แมวนั่งบนเสื่อ ภาษาไทยไม่มีช่องว่างระหว่างคำ",
    "zho_Hans": "一只猫坐在垫子上。北京的秋天很美，天空是蓝色的。",
    "zho_Hant": "一隻貓坐在墊子上。臺灣的夜市很熱鬧！",
    "jpn_Jpan": "猫がマットの上に座っている。カタカナとひらがな、ｶﾅも。",
    "kor_Hang": "고양이가 매트 위에 앉아 있다. 한국어는 재미있어요.",
}
CORPUS = [
    *SENTENCES.values(),
    *sample_texts(),
    "",
    " ",
    "\t\n",
    "  leading and trailing  ",
    "two  spaces   three",
    "no-break\u00a0space, ideographic\u3000space, zero\u200bwidth",
    "UPPER lower Title ΣΊΣΥΦΟΣ İI ǅ ﬀ ß",
    "punctuation: !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ “quotes” … ¿¡",
    "cafe\u0301 decomposed, Å angstrom, ① ½ ² ㎏ ﷺ",
    "🐈‍⬛ 👩🏽‍🚀 🇺🇦 ❤️",
    "ctrl\x00\x01\x7f\u200e\u202e",
    "_underscored_words_ and ▁ itself",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛 and rare 𠮷 𓀀 ꙮ",
    "word " * 300,
    "wait... what... no... " * 4,
    SENTENCES["zho_Hans"] * 20,
]


def write_vocabulary(kind: str, folder: Path) -> Path:
    """Train a tokenizer of `kind` and write it as `AutoTokenizer` reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    KINDS[kind](folder)
    return folder


def _clip(folder: Path) -> None:
    """Byte-level BPE with `</w>`, lower-cased."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    words = Regex(r"'s|'t|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+")
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        end_of_word_suffix="</w>",
        special_tokens=[*alphabet, *(f"{byte}</w>" for byte in alphabet)],
        show_progress=False,
    )
    trained.train_from_iterator([text.lower() for text in CORPUS], trainer)
    model = json.loads(trained.to_str())["model"]
    vocab = model["vocab"]
    for token in ("<|startoftext|>", "<|endoftext|>"):
        vocab[token] = len(vocab)
    merges = [tuple(merge) for merge in model["merges"]]
    CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=24).save_pretrained(folder)


def _bert(folder: Path) -> None:
    """Word-piece, lower-cased, every Chinese character a word."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizer

    trained = BertWordPieceTokenizer(lowercase=True)
    trained.train_from_iterator(CORPUS, vocab_size=900, min_frequency=1, show_progress=False)
    BertTokenizer(vocab=trained.get_vocab(), model_max_length=24).save_pretrained(folder)


def _roberta(folder: Path) -> None:
    """GPT-2's byte-level BPE with BERT's kind of special tokens."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaTokenizer

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(CORPUS, vocab_size=900, special_tokens=special, show_progress=False)
    model = json.loads(trained._tokenizer.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    RobertaTokenizer(vocab=model["vocab"], merges=merges).save_pretrained(folder)


def _sentencepiece(
    folder: Path, file: str, config: dict[str, Any], *, algorithm: str, **options: Any
) -> None:
    """A `.model` file and the configuration that says which class reads it."""
    import sentencepiece

    texts = [text for text in CORPUS if text.strip() and "\n" not in text and len(text) < 600]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type=algorithm,
        hard_vocab_limit=False,
        minloglevel=2,
        **{"vocab_size": 900, **options},
    )
    (folder / file).write_bytes(model.getvalue())
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def _siglip(folder: Path) -> None:
    """T5's English SentencePiece, read by `SiglipTokenizer`, which canonicalises texts."""
    config = {"tokenizer_class": "SiglipTokenizer", "model_max_length": 16}
    ids = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    _sentencepiece(folder, "spiece.model", config, algorithm="unigram", **ids)


def _mt5(folder: Path) -> None:
    """Multilingual T5: a unigram SentencePiece with `</s>` at the end."""
    config = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0}
    ids = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    _sentencepiece(folder, "spiece.model", config, algorithm="unigram", **ids)


def _xlm_roberta(folder: Path) -> None:
    """Fairseq's unigram SentencePiece: ids shifted by one, `<s>` and `</s>` around."""
    config = {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 24}
    ids = {"pad_id": -1, "eos_id": 2, "unk_id": 0, "bos_id": 1}
    _sentencepiece(folder, "sentencepiece.bpe.model", config, algorithm="unigram", **ids)


def _nllb(folder: Path) -> None:
    """Fairseq's BPE SentencePiece with the code of the language in front."""
    config = {
        "tokenizer_class": "NllbTokenizer",
        "src_lang": "eng_Latn",
        "additional_special_tokens": list(SENTENCES),
    }
    ids = {"pad_id": -1, "eos_id": 2, "unk_id": 0, "bos_id": 1}
    _sentencepiece(folder, "sentencepiece.bpe.model", config, algorithm="bpe", **ids)


def _gemma(folder: Path) -> None:
    """SigLIP 2's: a BPE SentencePiece that keeps every space and falls back to bytes."""
    config = {
        "tokenizer_class": "GemmaTokenizer",
        "add_bos_token": False,
        "add_eos_token": True,
        "padding_side": "right",
        "model_max_length": 16,
        "pad_token": "<pad>",
        "eos_token": "<eos>",
        "bos_token": "<bos>",
        "unk_token": "<unk>",
    }
    _sentencepiece(
        folder,
        "tokenizer.model",
        config,
        algorithm="bpe",
        vocab_size=1100,
        byte_fallback=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        **{"pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3},
        **{"pad_piece": "<pad>", "eos_piece": "<eos>", "bos_piece": "<bos>"},
        user_defined_symbols=["<mask>"],
    )


def _siglip2(folder: Path) -> None:
    """The same vocabulary, read by `Siglip2Tokenizer`, which lower-cases."""
    from transformers import AutoTokenizer

    _gemma(folder)
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["tokenizer_class"] = "Siglip2Tokenizer"
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


KINDS: dict[str, Callable[[Path], None]] = {
    "clip": _clip,
    "bert": _bert,
    "roberta": _roberta,
    "siglip": _siglip,
    "mt5": _mt5,
    "xlm_roberta": _xlm_roberta,
    "nllb": _nllb,
    "gemma": _gemma,
    "siglip2": _siglip2,
}
