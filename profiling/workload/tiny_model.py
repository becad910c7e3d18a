# SPDX-License-Identifier: Apache-2.0
"""Makes a small Llama with random weights and a tokenizer, without a hub.

`python -m profiling.workload.tiny_model DIR [--size tiny|small]`: 0.5 or 91 million parameters.
What it says is nonsense; how long it takes is not. Needs torch, transformers and tokenizers.
"""

import tempfile
from pathlib import Path

import click

from profiling.whole import check_new

__all__ = ["SIZES", "make_model"]

# hidden, layers, heads, vocabulary, longest context
SIZES = {
    "tiny": (128, 2, 4, 1024, 4096),
    "small": (768, 12, 12, 8192, 4096),
}
_SPECIAL = ("<unk>", "<s>", "</s>")
_CHAT = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def make_model(path: Path, size: str = "tiny", seed: int = 0) -> None:
    """A new model directory, whole or not at all; the same seed gives the same weights.

    Raises ProfileError where a directory with something in it is there already.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    check_new(path)
    hidden, layers, heads, vocabulary, longest = SIZES[size]
    torch.manual_seed(seed)
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3 // 32 * 32,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        vocab_size=vocabulary,
        max_position_embeddings=longest,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=True,
        dtype="bfloat16",
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as beside:
        whole = Path(beside) / path.name
        model.save_pretrained(whole)
        _save_tokenizer(whole, vocabulary)
        whole.replace(path)


def _save_tokenizer(path: Path, vocabulary: int) -> None:
    """Byte pairs learned from numbers in words; whatever is missing falls back to bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((f"{n} {n:x} {n:b} {n!r:>12}" for n in range(20_000)), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    fast.chat_template = _CHAT
    fast.save_pretrained(path)


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--size", type=click.Choice(sorted(SIZES)), default="tiny", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def main(directory: Path, size: str, seed: int) -> None:
    """Make a small Llama with random weights."""
    make_model(directory, size, seed)


if __name__ == "__main__":
    main()
