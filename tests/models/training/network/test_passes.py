"""The three passes of training are one model: chunk by chunk over cached keys and values equals the whole window."""

from __future__ import annotations

import pytest
import torch

from models.rollout.kv_cache import KVCache, window
from models.training.data.toy_clips import partition_of
from models.training.network.passes import Network, Text
from tests.support.small_bundle import small_bundle
from tests.support.toy_training import network


@pytest.mark.parametrize("chunks", [1, 2, 3, 4, 5])
def test_streaming_is_the_last_chunk_of_a_causal_pass(chunks: int) -> None:
    net, partition = network(), partition_of(chunks)
    torch.manual_seed(1)
    clean = torch.randn(2, sum(partition), 4, 8, 8)
    last, full = partition[-1], sum(partition[-3:])
    z = torch.randn(2, full, 4, 8, 8)
    t, r = torch.rand(2, full), torch.rand(2, full)
    t[:, -last:], r[:, -last:] = torch.tensor([[0.9], [0.5]]), torch.tensor([[0.3], [0.5]])
    text = net.encode(["a red star", "blue"])
    with torch.no_grad():
        whole = net.causal(clean, z, t, r, partition, text)[:, -last:]
        context = net.encode_context(clean[:, :-last], partition[:-1], text) if chunks > 1 else []
        own = net.chunk_velocity(z[:, -last:], t[:, -1], r[:, -1], text, context, sum(partition[:-1]))
    torch.testing.assert_close(own, whole, rtol=1e-4, atol=1e-5)


def test_streaming_is_the_live_models_step() -> None:
    """The same numbers as `models.network.transformer`, which serves."""
    bundle = small_bundle()

    context = KVCache(bundle.network, window(bundle))
    torch.manual_seed(2)
    past, z = torch.randn(1, 4, 16, 8, 8), torch.randn(1, 3, 16, 8, 8)
    words = bundle.prompts.encode("a red star")
    prompt = bundle.network.prompt_kv([words])
    context.push(past[:, :1])
    context.push(past[:, 1:])
    context.encode(prompt)
    live = bundle.network.velocity(
        bundle.network.embed(z), *context.current(3), bundle.network.modulation(0.7, 0.2), prompt, context, z.shape[1:]
    )
    net = Network(bundle.transformer, bundle.text_encoder, bundle.tokenizer)
    with torch.no_grad():
        states = torch.cat([words, words.new_zeros(1, words.shape[1])])[None]
        text = Text(
            states, torch.cat([torch.zeros(len(words)), torch.tensor([512.0 - len(words)]).log()])[None, None, None]
        )
        context = net.encode_context(past, (1, 3), text)
        ours = net.chunk_velocity(z, torch.tensor([0.7]), torch.tensor([0.2]), text, context, 4)
    torch.testing.assert_close(ours, live, rtol=1e-4, atol=1e-5)


def test_bidirectional_frames_see_each_other() -> None:
    net = network()
    torch.manual_seed(1)
    z, t = torch.randn(1, 7, 4, 8, 8), torch.full((1, 7), 0.5)
    text = net.encode(["a red star"])
    other = z.clone()
    other[:, 6] += 1
    with torch.no_grad():
        first, second = (net.bidirectional(x, t, t, text)[:, 0] for x in (z, other))
        partition = (1, 3, 3)
        causal = [net.causal(z, x, t, t, partition, text)[:, 0] for x in (z, other)]
    assert not torch.allclose(first, second, atol=1e-5)
    assert torch.equal(*causal)


def test_activations_computed_again_give_the_same_gradient() -> None:
    """Also when another pass under another caption came between."""
    gradients = []
    for checkpoint in (False, True):
        net = network(checkpoint=checkpoint)
        torch.manual_seed(1)
        z, t = torch.randn(1, 4, 4, 8, 8), torch.full((1, 4), 0.5)
        loss = 0.0
        for caption in ("a red star", "a long caption of a blue moon on a grey background"):
            text = net.encode([caption])
            context = net.encode_context(z[:, :1], (1,), text)
            loss = loss + net.chunk_velocity(z[:, 1:], t[:, 0], t[:, 0] / 2, text, context, 1).square().mean()
            loss = loss + net.causal(z, z, t, t, (1, 3), text).square().mean()
        loss.backward()
        gradients.append(net.transformer.blocks[0].attn2.to_k.weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_the_negative_prompt_stands_for_a_dropped_caption() -> None:
    plain, net = network(), network()
    net.unconditional = "blurred, static"
    with torch.no_grad():
        dropped, meant, empty = net.encode([""]), plain.encode(["blurred, static"]), plain.encode([""])
    torch.testing.assert_close(dropped.states, meant.states)
    assert dropped.states.shape != empty.states.shape
