"""The cases of PyPI's azure-servicebus against the broker. Every case has a queue of its own, named after it."""

import asyncio
import copy
import datetime
import os
import uuid

from azure.servicebus import (
    AutoLockRenewer,
    ServiceBusClient,
    ServiceBusMessage,
    ServiceBusMessageState,
    ServiceBusReceiveMode,
    ServiceBusSubQueue,
)
from azure.servicebus.aio import ServiceBusClient as AsyncServiceBusClient
from azure.servicebus.amqp import AmqpAnnotatedMessage, AmqpMessageBodyType, AmqpMessageHeader
from azure.servicebus.exceptions import (
    MessageAlreadySettled,
    MessageLockLostError,
    MessageNotFoundError,
    MessageSizeExceededError,
    MessagingEntityNotFoundError,
    ServiceBusError,
)
from suite import case, equal, main, raises, until

# Not there when the cases are only listed.
CONNECTION = os.environ.get("SERVICEBUS_CONNECTION_STRING")

# LockDuration of every queue of these suites.
LOCK_SECONDS = 5


def now():
    return datetime.datetime.now(datetime.timezone.utc)


class Queue:
    """One queue with a client of its own; everything it opened is closed by `with`."""

    def __init__(self, name):
        self.name = name
        self.client = ServiceBusClient.from_connection_string(CONNECTION, retry_total=1)
        self.opened = []
        self._sender = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for thing in reversed(self.opened):
            thing.close()
        self.client.close()

    @property
    def sender(self):
        if self._sender is None:
            self._sender = self.client.get_queue_sender(self.name)
            self.opened.append(self._sender)
        return self._sender

    def send(self, *bodies, **properties):
        self.sender.send_messages([ServiceBusMessage(body, **properties) for body in bodies])

    def receiver(self, **options):
        receiver = self.client.get_queue_receiver(self.name, **options)
        self.opened.append(receiver)
        return receiver

    def dead_letters(self, **options):
        return self.receiver(sub_queue=ServiceBusSubQueue.DEAD_LETTER, **options)


def body(message):
    return b"".join(message.body)


def receive(receiver, count=1, seconds=20):
    """Exactly `count` messages, in the order of their arrival."""
    messages = []

    def more():
        messages.extend(receiver.receive_messages(count - len(messages), max_wait_time=2))
        return len(messages) == count

    until(f"{count} messages", more, seconds)
    return messages


def receive_one(receiver, seconds=20):
    return receive(receiver, 1, seconds)[0]


def held(receiver, count=5):
    """What the queue holds, locked or not, from its start: the SDK itself would go on behind what was received last."""
    return receiver.peek_messages(count, sequence_number=1)


def soon(receiver):
    """An instant that is far enough off for a few requests before it: the connection is there once this has answered."""
    held(receiver)
    due = now() + datetime.timedelta(seconds=3)
    # AMQP has no instants between milliseconds.
    return due.replace(microsecond=due.microsecond // 1000 * 1000)


def nothing(receiver, seconds=1):
    equal(receiver.receive_messages(1, max_wait_time=seconds), [], "nothing should be there")


@case
def send_single(name):
    with Queue(name) as queue:
        queue.sender.send_messages(ServiceBusMessage("one"))
        receiver = queue.receiver()
        message = receive_one(receiver)
        equal(body(message), b"one")
        equal(message.delivery_count, 0)
        assert message.sequence_number >= 1 and message.lock_token is not None
        assert abs((now() - message.enqueued_time_utc).total_seconds()) < 60, message.enqueued_time_utc
        assert 0 < (message.locked_until_utc - now()).total_seconds() <= LOCK_SECONDS + 1, message.locked_until_utc
        receiver.complete_message(message)


@case
def send_batch(name):
    with Queue(name) as queue:
        batch = queue.sender.create_message_batch()
        for number in range(100):
            batch.add_message(ServiceBusMessage(f"{number}", message_id=f"id-{number}"))
        queue.sender.send_messages(batch)
        messages = receive(queue.receiver(receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE), 100)
        equal([body(message) for message in messages], [b"%d" % number for number in range(100)])
        equal([message.message_id for message in messages], [f"id-{number}" for number in range(100)])
        numbers = [message.sequence_number for message in messages]
        equal(numbers, sorted(set(numbers)), "sequence numbers rise")


@case
def batch_too_large(name):
    with Queue(name) as queue:
        batch = queue.sender.create_message_batch()
        assert 0 < batch.max_size_in_bytes <= 128 << 20, batch.max_size_in_bytes
        small = queue.sender.create_message_batch(max_size_in_bytes=1000)
        raises(MessageSizeExceededError, lambda: small.add_message(ServiceBusMessage(b"x" * 1001)))


@case
def message_too_large(name):
    with Queue(name) as queue:
        too_large = ServiceBusMessage(b"x" * (2 << 20))
        raises(MessageSizeExceededError, lambda: queue.sender.send_messages(too_large))
        halves = [ServiceBusMessage(b"x" * (700 << 10)) for _ in range(2)]
        raises(MessageSizeExceededError, lambda: queue.sender.send_messages(halves))
        # The refusal costs neither the link nor the queue anything.
        queue.send("small")
        equal([body(message) for message in queue.receiver().peek_messages(5)], [b"small"])


@case
def message_properties(name):
    with Queue(name) as queue:
        application_properties = {
            "text": "ü",
            b"binary-key": b"bytes",
            "int": 2**31 - 1,
            "negative": -5,
            "float": 1.5,
            "true": True,
            "false": False,
            "uuid": uuid.UUID("00112233-4455-6677-8899-aabbccddeeff"),
            "none": None,
        }
        sent = ServiceBusMessage(
            "properties",
            application_properties=application_properties,
            message_id="m-1",
            correlation_id="c-1",
            subject="subject",
            to="to",
            reply_to="reply",
            reply_to_session_id="reply-session",
            session_id="session",
            content_type="application/json",
            partition_key="session",
            time_to_live=datetime.timedelta(minutes=7),
        )
        queue.sender.send_messages(sent)
        receiver = queue.receiver()
        message = receive_one(receiver)
        for attribute in (
            "message_id",
            "correlation_id",
            "subject",
            "to",
            "reply_to",
            "reply_to_session_id",
            "session_id",
            "content_type",
            "partition_key",
            "time_to_live",
        ):
            equal(getattr(message, attribute), getattr(sent, attribute), attribute)
        found = {key: value for key, value in message.application_properties.items()}
        equal(found[b"text"], "ü".encode())
        equal(found[b"binary-key"], b"bytes")
        equal(found[b"int"], 2**31 - 1)
        equal(found[b"negative"], -5)
        equal(found[b"float"], 1.5)
        equal((found[b"true"], found[b"false"]), (True, False))
        equal(found[b"uuid"], application_properties["uuid"])
        equal(found[b"none"], None)
        equal(message.expires_at_utc, message.enqueued_time_utc + sent.time_to_live)
        receiver.complete_message(message)


@case
def every_amqp_type(name):
    def typed(kind, value):
        return {"TYPE": kind, "VALUE": value}

    moment = datetime.datetime(2026, 1, 1, 12, 30, 15, 123000, tzinfo=datetime.timezone.utc)
    values = [
        (None, None),
        (True, True),
        (typed("UBYTE", 255), 255),
        (typed("BYTE", -128), -128),
        (typed("USHORT", 65535), 65535),
        (typed("SHORT", -32768), -32768),
        (typed("UINT", 2**32 - 1), 2**32 - 1),
        (typed("INT", -(2**31)), -(2**31)),
        (typed("ULONG", 2**64 - 1), 2**64 - 1),
        (typed("LONG", -(2**63)), -(2**63)),
        (typed("FLOAT", 0.5), 0.5),
        (typed("DOUBLE", 1e300), 1e300),
        (typed("TIMESTAMP", moment), 1767270615123),
        (uuid.UUID(int=7), uuid.UUID(int=7)),
        (b"\x00\x01", b"\x00\x01"),
        ("text ü", "text ü".encode()),
        (typed("SYMBOL", b"symbol"), b"symbol"),
        ([1, "two", [3]], [1, b"two", [3]]),
        ({"key": {"inner": 1}}, {b"key": {b"inner": 1}}),
    ]
    with Queue(name) as queue:
        queue.sender.send_messages(AmqpAnnotatedMessage(value_body=[sent for sent, _ in values]))
        queue.sender.send_messages(AmqpAnnotatedMessage(sequence_body=[[1, 2], ["a"]]))
        queue.sender.send_messages(AmqpAnnotatedMessage(data_body=[b"one", b"two"]))
        receiver = queue.receiver(receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE)
        value, sequence, data = receive(receiver, 3)
        equal(value.body_type, AmqpMessageBodyType.VALUE)
        found = value.raw_amqp_message.body
        for (sent, expected), got in zip(values, found, strict=True):
            equal(got, expected, repr(sent))
        equal(sequence.body_type, AmqpMessageBodyType.SEQUENCE)
        equal([list(part) for part in sequence.raw_amqp_message.body], [[1, 2], [b"a"]])
        equal(data.body_type, AmqpMessageBodyType.DATA)
        equal(list(data.raw_amqp_message.body), [b"one", b"two"])


@case
def annotations_and_header_survive(name):
    with Queue(name) as queue:
        sent = AmqpAnnotatedMessage(
            data_body=b"x", annotations={"x-custom": "kept"}, header=AmqpMessageHeader(priority=7, durable=True)
        )
        queue.sender.send_messages(sent)
        message = receive_one(queue.receiver(receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE))
        equal(message.raw_amqp_message.annotations[b"x-custom"], b"kept")
        equal((message.raw_amqp_message.header.priority, message.raw_amqp_message.header.durable), (7, True))


@case
def large_message(name):
    large = bytes(number % 251 for number in range(900 * 1024))
    with Queue(name) as queue:
        queue.sender.send_messages(ServiceBusMessage(large))
        receiver = queue.receiver()
        message = receive_one(receiver)
        assert body(message) == large, len(body(message))
        receiver.complete_message(message)
        equal(held(receiver), [])


@case
def receive_and_delete(name):
    with Queue(name) as queue:
        queue.send("1", "2")
        receiver = queue.receiver(receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE)
        equal([body(message) for message in receive(receiver, 2)], [b"1", b"2"])
        equal(held(receiver), [])


@case
def complete(name):
    with Queue(name) as queue:
        queue.send("1", "2")
        receiver = queue.receiver()
        first, second = receive(receiver, 2)
        receiver.complete_message(first)
        raises(MessageAlreadySettled, lambda: receiver.complete_message(first))
        equal([body(message) for message in held(receiver)], [b"2"])
        receiver.complete_message(second)
        equal(held(receiver), [])


@case
def abandon(name):
    with Queue(name) as queue:
        queue.send("1", "2")
        receiver = queue.receiver()
        first = receive_one(receiver)
        receiver.abandon_message(first)
        again = receive_one(receiver)
        # It returns to its place in front of the others, counted.
        equal((body(again), again.delivery_count, again.sequence_number), (b"1", 1, first.sequence_number))
        assert again.lock_token != first.lock_token
        receiver.complete_message(again)
        receiver.complete_message(receive_one(receiver))


@case
def defer(name):
    with Queue(name) as queue:
        queue.send("deferred", "next")
        receiver = queue.receiver()
        first, second = receive(receiver, 2)
        receiver.defer_message(first)
        receiver.complete_message(second)
        nothing(receiver)
        equal(held(receiver)[0].state, ServiceBusMessageState.DEFERRED)
        deferred = receiver.receive_deferred_messages(first.sequence_number)
        equal([body(message) for message in deferred], [b"deferred"])
        receiver.complete_message(deferred[0])
        error = raises(ServiceBusError, lambda: receiver.receive_deferred_messages(first.sequence_number))
        assert isinstance(error, MessageNotFoundError), repr(error)
        equal(held(receiver), [])


@case
def settled_deferred_has_no_lock(name):
    with Queue(name) as queue:
        queue.send("x")
        receiver = queue.receiver()
        first = receive_one(receiver)
        receiver.defer_message(first)
        deferred = receiver.receive_deferred_messages(first.sequence_number)[0]
        twin = copy.copy(deferred)
        receiver.complete_message(deferred)
        raises(MessageLockLostError, lambda: receiver.complete_message(twin))


@case
def dead_letter(name):
    with Queue(name) as queue:
        queue.send("poison", application_properties={"kept": "yes"})
        receiver = queue.receiver()
        message = receive_one(receiver)
        receiver.dead_letter_message(message, reason="BadOrder", error_description="no delivery")
        nothing(receiver)
        dead_letters = queue.dead_letters()
        peeked = held(dead_letters)[0]
        equal(body(peeked), b"poison")
        dead = receive_one(dead_letters)
        equal((body(dead), dead.dead_letter_reason, dead.dead_letter_error_description), (b"poison", "BadOrder", "no delivery"))
        equal(dead.application_properties[b"kept"], b"yes")
        dead_letters.complete_message(dead)
        equal(held(dead_letters), [])


@case
def dead_letter_without_reason(name):
    with Queue(name) as queue:
        queue.send("poison")
        receiver = queue.receiver()
        receiver.dead_letter_message(receive_one(receiver))
        dead = receive_one(queue.dead_letters(receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE))
        equal((body(dead), dead.dead_letter_reason), (b"poison", None))


@case
def max_delivery_count(name):
    with Queue(name) as queue:
        queue.send("poison")
        receiver = queue.receiver()
        for delivery in range(3):
            message = receive_one(receiver)
            equal(message.delivery_count, delivery)
            receiver.abandon_message(message)
        nothing(receiver)
        dead_letters = queue.dead_letters()
        dead = receive_one(dead_letters)
        equal((body(dead), dead.dead_letter_reason), (b"poison", "MaxDeliveryCountExceeded"))
        dead_letters.complete_message(dead)


@case
def lock_expires(name):
    with Queue(name) as queue:
        queue.send("x")
        first_receiver, second_receiver = queue.receiver(), queue.receiver()
        first = receive_one(first_receiver)
        second = receive_one(second_receiver)
        assert now() >= first.locked_until_utc, "delivered again before the lock ended"
        equal((second.delivery_count, second.sequence_number), (1, first.sequence_number))
        raises(MessageLockLostError, lambda: first_receiver.complete_message(first))
        raises(MessageLockLostError, lambda: first_receiver.renew_message_lock(first))
        second_receiver.complete_message(second)
        equal(held(second_receiver), [])


@case
def renew_lock(name):
    with Queue(name) as queue:
        queue.send("x")
        holder, rival = queue.receiver(), queue.receiver()
        message = receive_one(holder)
        first_end = last_end = message.locked_until_utc
        for _ in range(3):
            nothing(rival, 2)
            renewed = holder.renew_message_lock(message)
            assert renewed > last_end and message.locked_until_utc == renewed, (last_end, renewed)
            last_end = renewed
        assert now() > first_end, "the first lock has not ended yet"
        holder.complete_message(message)
        nothing(rival)


@case
def auto_renew_lock(name):
    with Queue(name) as queue, AutoLockRenewer() as renewer:
        queue.send("x")
        holder, rival = queue.receiver(), queue.receiver()
        message = receive_one(holder)
        first_end = message.locked_until_utc
        renewer.register(holder, message, max_lock_renewal_duration=30)
        nothing(rival, LOCK_SECONDS + 2)
        assert now() > first_end and message.auto_renew_error is None
        holder.complete_message(message)


@case
def peek(name):
    with Queue(name) as queue:
        queue.send(*[f"{number}" for number in range(5)])
        receiver = queue.receiver()
        first = receiver.peek_messages(3)
        equal([body(message) for message in first], [b"0", b"1", b"2"])
        rest = receiver.peek_messages(10, sequence_number=first[-1].sequence_number + 1)
        equal([body(message) for message in rest], [b"3", b"4"])
        equal(receiver.peek_messages(1, sequence_number=rest[-1].sequence_number + 1), [])
        assert all(message.lock_token is None for message in first)
        # Peeking locks nothing and counts nothing; what is locked is still seen.
        equal([message.delivery_count for message in receive(receiver, 5)], [0] * 5)
        equal(len(receiver.peek_messages(10, sequence_number=1)), 5)


@case
def time_to_live(name):
    with Queue(name) as queue:
        queue.send("short", time_to_live=datetime.timedelta(seconds=1))
        queue.send("long")
        dead = receive_one(queue.dead_letters())
        equal((body(dead), dead.dead_letter_reason), (b"short", "TTLExpiredException"))
        equal(body(receive_one(queue.receiver())), b"long")


@case
def schedule(name):
    with Queue(name) as queue:
        receiver = queue.receiver()
        due = soon(receiver)
        messages = [ServiceBusMessage(f"{number}") for number in range(3)]
        numbers = queue.sender.schedule_messages(messages, due)
        equal(len(set(numbers)), 3)
        states = {message.state for message in held(receiver)}
        equal(states, {ServiceBusMessageState.SCHEDULED})
        received = receive(receiver, 3)
        assert now() >= due, "delivered before it was due"
        equal(sorted(body(message) for message in received), [b"0", b"1", b"2"])
        for message in received:
            assert message.enqueued_time_utc >= due - datetime.timedelta(milliseconds=1), message.enqueued_time_utc
            receiver.complete_message(message)


@case
def schedule_by_property(name):
    with Queue(name) as queue:
        receiver = queue.receiver(receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE)
        due = soon(receiver)
        queue.sender.send_messages(ServiceBusMessage("later", scheduled_enqueue_time_utc=due))
        queue.send("now")
        equal(body(receive_one(receiver)), b"now")
        later = receive_one(receiver)
        assert now() >= due, "delivered before it was due"
        equal(body(later), b"later")
        assert abs((later.scheduled_enqueue_time_utc - due).total_seconds()) < 0.001


@case
def schedule_cancel(name):
    with Queue(name) as queue:
        receiver = queue.receiver(receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE)
        due = soon(receiver)
        cancelled, kept = queue.sender.schedule_messages([ServiceBusMessage("cancelled"), ServiceBusMessage("kept")], due)
        queue.sender.cancel_scheduled_messages(cancelled)
        error = raises(ServiceBusError, lambda: queue.sender.cancel_scheduled_messages(cancelled))
        assert isinstance(error, MessageNotFoundError), repr(error)
        # A later one shows that the instant has passed.
        queue.sender.schedule_messages(ServiceBusMessage("last"), due + datetime.timedelta(milliseconds=300))
        equal([body(message) for message in receive(receiver, 2)], [b"kept", b"last"])
        equal(held(receiver), [])


@case
def unknown_queue(_):
    with Queue("no-such-queue") as queue:
        raises(MessagingEntityNotFoundError, lambda: queue.send("x"))
    with Queue("no-such-queue") as queue:
        raises(MessagingEntityNotFoundError, lambda: queue.receiver().receive_messages(max_wait_time=2))


@case
def queue_names_ignore_case(name):
    with Queue(name.upper()) as upper, Queue(name) as lower:
        upper.send("x")
        equal(body(receive_one(lower.receiver())), b"x")


@case
def competing_receivers(name):
    with Queue(name) as queue:
        queue.send(*[f"{number}" for number in range(40)])
        receivers = [queue.receiver(), queue.receiver()]
        found = []

        def more():
            for receiver in receivers:
                for message in receiver.receive_messages(7, max_wait_time=1):
                    receiver.complete_message(message)
                    found.append(body(message))
            return len(found) >= 40

        until("all messages", more)
        equal(sorted(found), sorted(b"%d" % number for number in range(40)))
        equal(held(receivers[0]), [])


@case
def prefetch(name):
    with Queue(name) as queue:
        queue.send(*[f"{number}" for number in range(50)])
        receiver = queue.receiver(prefetch_count=20)
        for message in receive(receiver, 50):
            receiver.complete_message(message)
        equal(held(receiver), [])


@case
def closing_a_receiver_keeps_the_rest_unharmed(name):
    with Queue(name) as queue:
        queue.send(*[f"{number}" for number in range(10)])
        first = queue.client.get_queue_receiver(queue.name)
        with first:
            for message in receive(first, 3):
                first.complete_message(message)
        rest = receive(queue.receiver(), 7)
        equal([body(message) for message in rest], [b"%d" % number for number in range(3, 10)])


@case
def iterate(name):
    with Queue(name) as queue:
        queue.send("1", "2", "3")
        receiver = queue.receiver(max_wait_time=2)
        found = []
        for message in receiver:
            found.append(body(message))
            receiver.complete_message(message)
        equal(found, [b"1", b"2", b"3"])


@case
def asynchronous_client(name):
    async def run():
        async with AsyncServiceBusClient.from_connection_string(CONNECTION, retry_total=1) as client:
            async with client.get_queue_sender(name) as sender, client.get_queue_receiver(name) as receiver:
                await sender.send_messages([ServiceBusMessage("1"), ServiceBusMessage("2")])
                first, *rest = await receiver.receive_messages(2, max_wait_time=5)
                if not rest:
                    rest = await receiver.receive_messages(1, max_wait_time=5)
                equal((body(first), body(rest[0])), (b"1", b"2"))
                await receiver.complete_message(first)
                await receiver.dead_letter_message(rest[0], reason="r")
                equal(await held(receiver), [])

    asyncio.run(run())


if __name__ == "__main__":
    main(lambda name: "python." + name)
