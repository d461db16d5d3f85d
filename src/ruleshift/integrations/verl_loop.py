"""verl's agent loop for sequential revision; see `ruleshift.integrations.verl` for where it is named."""

from typing import Any
from uuid import uuid4

from ruleshift.integrations.places import ProblemRef, needs, pil_image, say
from ruleshift.records import Message

needs("verl.experimental.agent_loop.agent_loop", "verl")
from verl.experimental.agent_loop.agent_loop import (  # noqa: E402
    AgentLoopBase,
    AgentLoopMetrics,
    AgentLoopOutput,
    register,
)


@register("ruleshift")
class RevisionLoop(AgentLoopBase):
    """Sequential revision with a verifier. Sampled ids are kept as they are; feedback has 0 in the mask."""

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **row: Any) -> Any:
        conversation = ProblemRef.of(row["extra_info"]).conversation()
        messages = [_chat(message) for message in conversation.request().messages]
        images = [pil_image(picture) for message in conversation.messages for picture in message.pictures]
        self._assert_mm_supported(bool(images))
        room = self.rollout_config.response_length
        ids = await self.ct_build_initial_tokens(messages, images=images or None)
        mask: list[int] = []
        logprobs: list[float] | None = None
        request = uuid4().hex
        while True:
            reply = await self.server_manager.generate(
                request_id=request, prompt_ids=ids, sampling_params=sampling_params, image_data=images or None
            )
            logprobs = logprobs if logprobs is not None else ([] if reply.log_probs else None)
            merged, mask, logprobs = await self.ct_merge_assistant_token(
                ids, reply.token_ids, mask, logprobs, assistant_logprobs=reply.log_probs or None
            )
            ids = merged.token_ids
            said = self.tokenizer.decode(reply.token_ids, skip_special_tokens=True)
            say(conversation, said)
            if conversation.ended or len(mask) >= room:
                break
            before = [*messages, {"role": "assistant", "content": said}]
            feedback = conversation.messages[-1]
            messages = [*before, _chat(feedback)]
            merged, longer, padded = await self.ct_merge_context_msg(before, messages, ids, mask, logprobs)
            if len(longer) >= room:
                break
            ids, mask, logprobs = merged.token_ids, longer, padded if logprobs is not None else None
            images += [pil_image(picture) for picture in feedback.pictures]
        start = len(ids) - len(mask)
        turns = [turn.verdict for turn in conversation.turns]
        return AgentLoopOutput(
            prompt_ids=ids[:start],
            response_ids=ids[start:][:room],
            response_mask=mask[:room],
            response_logprobs=None if logprobs is None else logprobs[:room],
            multi_modal_data={"images": images} if images else None,
            reward_score=sum(verdict.reward for verdict in turns),
            num_turns=2 * len(turns),
            metrics=AgentLoopMetrics(),
            extra_fields={"turn_scores": [verdict.reward for verdict in turns], "tool_rewards": []},
        )


def _chat(message: Message) -> dict[str, Any]:
    if not message.pictures:
        return {"role": message.role, "content": message.content}
    seen = [{"type": "image", "image": pil_image(picture)} for picture in message.pictures]
    return {"role": message.role, "content": [*seen, {"type": "text", "text": message.content}]}
