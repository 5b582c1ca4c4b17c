import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from modelyard.training.linear import fused_adapters


def adapted(base, **fields):
    torch.manual_seed(3)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", **fields)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return model


def gradients(model, ids):
    model.zero_grad()
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    return loss.item(), {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def test_same_loss_and_gradients_as_peft(base):
    model, ids = adapted(base), torch.arange(24).view(2, 12)
    loss, expected = gradients(model, ids)
    with fused_adapters(model) as count:
        assert count == 14
        fused_loss, seen = gradients(model, ids)
    assert abs(loss - fused_loss) < 1e-5
    assert expected.keys() == seen.keys()
    assert len(seen) == 28
    for name in expected:
        torch.testing.assert_close(seen[name], expected[name], atol=1e-5, rtol=1e-3)
    assert gradients(model, ids)[0] == loss, "the usual forward is back"


def test_layers_with_more_to_them_keep_their_own_forward(base):
    for fields in ({"lora_dropout": 0.1}, {"use_dora": True}, {"lora_bias": True}):
        with fused_adapters(adapted(base, **fields)) as count:
            assert count == 0
