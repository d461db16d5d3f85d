"""TRL: data, reward functions, an environment with tools, and multi-turn rollouts for its trainers.

`dataset` has the columns of SFTTrainer (`prompt`, `completion`, `images`) and of GRPOTrainer and RLOOTrainer (`prompt`,
`images`, and where the problem is found). With `reward`, a reply is one turn; `ToolEnvironment` (tools, pictures in
every turn) and `Rollouts` (plain replies, text) let GRPOTrainer take many turns.

TRL gives a rollout one reward: the sum over its turns, where training here credits every turn with what follows it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ruleshift.engines.text import expert_messages
from ruleshift.errors import RuleshiftError
from ruleshift.integrations.places import ProblemRef, pil_image, say
from ruleshift.records import Episode, Message, Verdict
from ruleshift.revision import Conversation, revise

if TYPE_CHECKING:
    from datasets import Dataset, Features

Columns = Sequence[Any]


def rows(place: ProblemRef, n: int, completions: bool = True) -> Iterator[dict[str, Any]]:
    """The first `n` problems of a split (fewer where it ends): the prompt, an expert's conversation after it as
    `completion`, for tasks in pictures `images` (Picture records, those of the prompt first), and where it is found.
    Without `completions` there are the prompts and their pictures alone, as trainers that sample take them."""
    task = place.open_task()
    for index in range(place.count(n)):
        here = place.at(index)
        messages = expert_messages(here.problem())
        first = next(i for i, message in enumerate(messages) if message.role == "assistant")
        shown = messages if completions else messages[:first]
        told = [{"role": message.role, "content": _content(message, task.pictures)} for message in shown]
        row: dict[str, Any] = {"prompt": told[:first], **({"completion": told[first:]} if completions else {})}
        if task.pictures:
            row["images"] = [picture for message in shown for picture in message.pictures]
        yield {**row, **here.row()}


def dataset(place: ProblemRef, n: int, completions: bool = True) -> "Dataset":
    """`rows` as a Dataset."""
    from datasets import Dataset

    found = list(rows(place, n, completions))
    if not place.open_task().pictures:
        return Dataset.from_list(found)
    seen = [{**row, "images": [pil_image(picture) for picture in row["images"]]} for row in found]
    return Dataset.from_list(seen, features=features(place, completions))


def features(place: ProblemRef, completions: bool = True) -> "Features":
    """The columns of `rows` for a task in pictures."""
    from datasets import Features, Image, List, Value

    text = Value("string")
    message = {"role": text, "content": List({"type": text, "text": text})}
    spoken = {"prompt": List(message), **({"completion": List(message)} if completions else {})}
    places = {name: Value("int64" if isinstance(value, int) else "string") for name, value in place.row().items()}
    return Features({**spoken, "images": List(Image()), **places})


def _content(message: Message, pictured: bool) -> str | list[dict[str, str]]:
    if not pictured:
        return message.content
    return [{"type": "image"} for _ in message.pictures] + [{"type": "text", "text": message.content}]


# ---------------------------------------------------------------- reward functions: a reply is one turn


def reward(completions: Columns, **columns: Any) -> list[float]:
    """The verifier's reward of first replies. `turns=1` in the data makes the first try the last one, too."""
    return [_judged(completion, row).reward for completion, row in _pairs(completions, columns)]


def solved(completions: Columns, **columns: Any) -> list[float]:
    """1 for a first reply that solves its problem (passes the first step of a walk), else 0: to be logged, weight 0."""
    verdicts = [_judged(completion, row) for completion, row in _pairs(completions, columns)]
    return [float(verdict.solved or verdict.advanced) for verdict in verdicts]


def _pairs(completions: Columns, columns: Mapping[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    known = {name: values for name, values in columns.items() if name in ProblemRef.__dataclass_fields__}
    for number, completion in enumerate(completions):
        yield completion, {name: values[number] for name, values in known.items()}


def _judged(completion: Any, row: Mapping[str, Any]) -> Verdict:
    return say(ProblemRef.of(row).conversation(), _text(completion))


def _text(completion: Any) -> str:
    """A completion of either kind: text, or messages, whose contents may be parts."""
    content = completion if isinstance(completion, str) else completion[0]["content"]
    return content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)


# ---------------------------------------------------------------- many turns, by tools


class ToolEnvironment:
    """For `GRPOTrainer(environment_factory=ToolEnvironment)`: the model submits replies with a tool, and sees the
    verifier's feedback, with pictures where the task shows them. The reward is the sum over its replies; whoever
    submits none earns what an empty last reply earns.

    The data may be `dataset(..., completions=False)`; rows that hold a place but no prompt get it from the problem.
    """

    def __init__(self) -> None:
        self._conversation: Conversation | None = None

    def reset(self, **row: Any) -> str | list[dict[str, Any]] | None:
        """Begin with the problem of a row of data."""
        self._conversation = ProblemRef.of(row).conversation()
        messages = self._conversation.request().messages
        return None if row.get("prompt") else _shown(messages[-1])

    def submit_reply(self, reply: str) -> str | list[dict[str, Any]]:
        """Submit your reply to the problem, in the form that it asks for, and read what the verifier says of it.

        Args:
            reply: Your whole reply.

        Returns:
            What is right or wrong with it, and what is seen next.
        """
        conversation = self._begun()
        if conversation.ended:
            raise ValueError("this problem has ended: submit no further reply")
        say(conversation, str(reply))
        return _shown(conversation.messages[-1])

    def get_reward(self) -> float:
        """The sum of the verifier's rewards."""
        conversation = self._begun()
        if not conversation.turns:
            return conversation.problem.submit("", last=True).reward
        return conversation.episode().total_reward

    def _begun(self) -> Conversation:
        if self._conversation is None:
            raise RuleshiftError("no problem has begun: call reset() with a row of data")
        return self._conversation


def _shown(message: Message) -> str | list[dict[str, Any]]:
    """What a tool gives back: text, or pictures and text."""
    if not message.pictures:
        return message.content
    seen: list[dict[str, Any]] = [{"type": "image", "image": pil_image(picture)} for picture in message.pictures]
    return [*seen, {"type": "text", "text": message.content}]


# ---------------------------------------------------------------- many turns, in plain replies


class Rollouts:
    """For `GRPOTrainer(rollout_func=Rollouts(data))`: our own multi-turn conversations, in text, of which TRL trains on
    what the model sampled (token for token; feedback is masked). Rewards come from `episode_reward`.

    Replies are drawn at temperature 1 and are at most `max_new_tokens` long. `max_completion_length` of the trainer
    does not bound the conversation; `turns` in the data does.
    """

    def __init__(self, data: "Dataset", max_new_tokens: int = 80) -> None:
        self.max_new_tokens = max_new_tokens
        places = (ProblemRef.of(row) for row in data)
        self._places = {self._key(place.problem().context()): place for place in places}
        if any(place.open_task().pictures for place in self._places.values()):
            raise RuleshiftError("rollouts of TRL take text only: use ToolEnvironment for tasks in pictures")

    def __call__(self, prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        """One conversation for each prompt, as `rollout_func` has to return them."""
        from ruleshift.chat import Chat
        from ruleshift.engines.local import LocalEngine
        from ruleshift.engines.protocol import Sampling

        model, tokenizer = trainer.accelerator.unwrap_model(trainer.model), trainer.processing_class
        seed = int(trainer.state.global_step) * trainer.accelerator.num_processes + trainer.accelerator.process_index
        engine = LocalEngine(model, Chat(tokenizer), Sampling(1.0, self.max_new_tokens, seed), len(prompts))
        places = [self._places[self._key([Message(m["role"], m["content"]) for m in prompt])] for prompt in prompts]
        earlier: Counter[ProblemRef] = Counter()
        samples = []
        for place in places:
            samples.append(earlier[place])
            earlier[place] += 1
        budget = places[0].turns or places[0].open_task().default_turns
        episodes = revise([place.problem() for place in places], engine, budget, samples=samples)
        return _rollout(episodes)

    @staticmethod
    def _key(messages: Sequence[Message]) -> str:
        return "\n".join(f"{message.role}: {message.content}" for message in messages)


def _rollout(episodes: Sequence[Episode]) -> dict[str, list[Any]]:
    """Episodes as TRL takes them: what comes after the prompt, with 1 where the model sampled."""
    rollout: dict[str, list[Any]] = {
        name: [] for name in ("prompt_ids", "completion_ids", "logprobs", "env_mask", "episode_reward")
    }
    for episode in episodes:
        first, *later = episode.turns
        ids, mask = list(first.completion.token_ids), [1] * len(first.completion.token_ids)
        logprobs = list(first.completion.logprobs)
        for turn in later:
            ids += [*turn.appended_ids, *turn.completion.token_ids]
            mask += [0] * len(turn.appended_ids) + [1] * len(turn.completion.token_ids)
            logprobs += [0.0] * len(turn.appended_ids) + list(turn.completion.logprobs)
        rollout["prompt_ids"].append(list(first.appended_ids))
        rollout["completion_ids"].append(ids)
        rollout["logprobs"].append(logprobs)
        rollout["env_mask"].append(mask)
        rollout["episode_reward"].append(episode.total_reward)
    return rollout


def episode_reward(episode_reward: Sequence[float], **columns: Any) -> list[float]:
    """The reward of rollouts that `Rollouts` made: the sum over their turns."""
    return list(episode_reward)
