"""Training attention is the reference's: same masks, same numbers, only with a backward."""

from __future__ import annotations

import pytest
import torch
from diffusers import AnyFlowFARTransformer3DModel
from diffusers.models.transformers.transformer_anyflow_far import _build_anyflow_far_causal_block_mask

from models.training.network.attention import DenseSelfAttention, FoldedCrossAttention, causal_mask, fold_text


@pytest.mark.parametrize(
    ("partition", "clean"), [((1,), False), ((1, 3), True), ((1, 3, 3), True), ((1, 3, 3, 3), True)]
)
def test_mask_is_the_references(partition: tuple[int, ...], clean: bool) -> None:
    reference = _build_anyflow_far_causal_block_mask(
        list(partition), 8, 8, (1, 2, 2), (1, 4, 4), 3, has_clean_context=clean, device=torch.device("cpu")
    )
    ours = causal_mask(partition, max(0, len(partition) - 3), 16, 4, clean)
    index = torch.arange(len(ours))
    theirs = reference.mask_mod(0, 0, index[:, None], index[None, :])
    assert torch.equal(ours, theirs)


@pytest.mark.filterwarnings("ignore")
def test_training_pass_equals_the_references_and_has_a_backward() -> None:
    torch.manual_seed(0)
    model = AnyFlowFARTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4, text_dim=8, freq_dim=16,
        ffn_dim=32, num_layers=2,
    )  # fmt: skip
    latents, clean = torch.randn(2, 10, 4, 8, 8), torch.randn(2, 9, 4, 8, 8)
    time = torch.rand(2, 10) * 1000
    words, mask = torch.randn(2, 5, 8), torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    padded = torch.zeros(2, 512, 8)
    padded[:, :5] = words * mask[..., None]
    arguments = {
        "hidden_states": latents, "timestep": time, "r_timestep": time / 2, "chunk_partition": [1, 3, 3, 3],
        "clean_hidden_states": clean, "clean_timestep": torch.zeros(2, 9), "return_dict": False,
    }  # fmt: skip
    arguments["hidden_states"] = latents
    with torch.no_grad():
        expected = model(encoder_hidden_states=padded, **arguments)[0]
    cross = FoldedCrossAttention()
    for block in model.blocks:
        block.attn1.set_processor(DenseSelfAttention())
        block.attn2.set_processor(cross)
    text, cross.bias = fold_text(words, mask)
    mask4 = causal_mask((1, 3, 3, 3), 1, 16, 4, clean=True)
    ours = model(encoder_hidden_states=text, attention_mask=mask4, **arguments)[0]
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    ours.square().mean().backward()
    assert model.blocks[0].attn1.to_q.weight.grad.abs().sum() > 0
