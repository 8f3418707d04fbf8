"""Beside the steps: a message that nobody can be answered for becomes a dead letter."""

from collections.abc import Sequence

from worker.rabbitmq.channel_session import Delivery
from worker.rabbitmq.intake import Intake
from worker.steps.answering import Answering
from worker.steps.verdicts import unrecorded_answer
from worker.values import Unreadable

Dead = tuple[Delivery, Unreadable]


class Burying:
    """Publishes dead letters. A delivery whose dead letter no queue takes is held: given back, it would come
    again at once.
    """

    def __init__(self, intake: Intake, answering: Answering) -> None:
        self._intake = intake
        self._answering = answering
        self._held: list[Dead] = []

    async def bury(self, dead: Sequence[Dead]) -> list[Dead]:
        """Bury these, and answer those who wait all the same. Returns those that no queue took."""
        if not dead:
            return []
        buried = await self._answering.bury([(delivery.message, why) for delivery, why in dead])
        done = [one for one, there in zip(dead, buried, strict=True) if there]
        if waiting := [why.told for _, why in done if why.told]:
            await self._answering.answer([unrecorded_answer(told) for told in waiting])
        await self._intake.settle([delivery for delivery, _ in done])
        return [one for one, there in zip(dead, buried, strict=True) if not there]

    def hold(self, unburied: Sequence[Dead]) -> None:
        """Try these again later. Those that a stop or a lost channel leaves come again from the broker."""
        self._held += unburied

    async def bury_held(self) -> None:
        """Try those again that are held."""
        held, self._held = self._held, []
        self._held += await self.bury([(delivery, why) for delivery, why in held if delivery.session.open])
