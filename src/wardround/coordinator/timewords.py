"""A timeline in sentences: what is waited for, what comes next, what a site is at, what to do."""

from __future__ import annotations

from datetime import datetime

from wardround.coordinator.connecting import names
from wardround.coordinator.stages import Stage
from wardround.coordinator.timeline import Doing, Lane, Mark, Timeline
from wardround.federation.causes import Cause
from wardround.governance.report.spans import kind_label

CAUSES = {
    Cause.APPROVAL: "its approval does not hold today: its steward approves the study again",
    Cause.POLICY: "its policy does not allow this task: its steward decides",
    Cause.DISAGREES: "what it was asked is not what it signed: compare versions and the study",
    Cause.NOT_UNDERSTOOD: "it did not understand the instruction: compare versions, look for a "
    "proxy that alters bodies",
    Cause.KEYS_LOST: "its agent was restarted in mid-round: it takes part again by itself",
    Cause.SANDBOX: "its computer can't start the sandbox: `wardround site limits` there",
    Cause.DISK: "its disk is full or not writable: it makes room, the next round asks again",
}
"""What each cause means, and who does what."""

HINDRANCES = {Cause.DISK: "its disk is full"}
"""What a site waits for at its own end, and for how long is up to it."""

PLAIN = "no cause may be named: its own log has it under this number"

RECONNECT = ("reconnect.all", "reconnect.enough", "reconnect.same")
"""The phases in which a run that has begun waits for hospitals to connect."""

CONNECTS = ("connect", *RECONNECT)
"""All phases in which hospitals are to connect."""

_ASKED = {
    "connect": "connection",
    **dict.fromkeys(RECONNECT, "connection"),
    "draw.commit": "commitment to the draw of groups",
    "draw.reveal": "part in the draw of groups",
    "draw.settled": "acceptance of its group",
    "set-up.advertise": "keys",
    "set-up.choose": "choice of partners",
    "set-up.deal": "key shares",
    "cohort.gather": "word that it is ready",
    "cohort.sign": "signature under the cohort's manifest",
    "cohort.deal": "key shares",
    "round.collect": "contribution",
    "round.vote": "signature over who answered",
    "round.recover": "share that opens the total",
    "round.audit": "word on its packet",
    "countersign": "countersignature",
}
"""What a site owes in each phase, in the singular."""

_ASKED_OF_MANY = {
    "connect": "connections",
    **dict.fromkeys(RECONNECT, "connections"),
    "draw.commit": "commitments to the draw of groups",
    "draw.reveal": "parts in the draw of groups",
    "draw.settled": "acceptances of their groups",
    "set-up.choose": "choices of partners",
    "cohort.gather": "words that they are ready",
    "cohort.sign": "signatures under the cohort's manifest",
    "round.collect": "contributions",
    "round.vote": "signatures over who answered",
    "round.recover": "shares that open the total",
    "round.audit": "words on their packets",
    "countersign": "countersignatures",
}

_NEXT = {
    "connect": "the run starts when all are there, or when `--wait-s` is over",
    "reconnect.all": "the run goes on when all are there, or then with whoever is",
    "reconnect.enough": "a set-up of masking keys begins",
    "reconnect.same": "the step is repeated over the same hospitals",
    "draw.commit": "they show what they have drawn; this waits for every hospital",
    "draw.reveal": "the groups are settled",
    "draw.settled": "the groups set up their masking keys",
    "draw.failed": "the groups are drawn again",
    "set-up.advertise": "they deal each other key shares",
    "set-up.choose": "they deal key shares to those chosen",
    "set-up.deal": "the round begins",
    "cohort.gather": "as soon as enough are ready, they form a cohort and open its sum",
    "cohort.sign": "they deal each other key shares",
    "cohort.deal": "they send what they trained, masked",
    "round.collect": "they sign who answered",
    "round.vote": "enough of them give the shares that open the total",
    "round.recover": "the total is opened",
    "round.opening": "the total is stored and the next step begins",
    "round.audit": "the run ends and says who can explain the garbage",
    "between": "the algorithm's next step",
    "countersign": "model, evidence and report are published",
}


def asked(phase: str) -> str:
    """What a site owes in this phase."""
    return _ASKED.get(phase, phase)


def asked_of_many(phase: str) -> str:
    """What several sites owe in this phase."""
    return _ASKED_OF_MANY.get(phase, asked(phase))


def usual_next(phase: str) -> str:
    """What comes after this phase, whoever is late."""
    return _NEXT.get(phase, "")


def headline(found: Timeline) -> str:
    """The run and its state in a line."""
    study = f"{found.study} v{found.version}"
    if found.run is None:
        return f"{study} · no run under way"
    since = found.started_at
    end = found.ended_at or found.at
    length = "" if since is None else f" for {span((end - since).total_seconds())}"
    verb = {"running": "running", "ending": "ending"}.get(found.state)
    state = f"{verb}{length}" if verb else f"{found.state} after{length.removeprefix(' for')}"
    return f"{study} · run {found.run} · {state}"


def place(found: Timeline, stage: Stage) -> str:
    """Which step, what it computes, which attempt; counted from one, as people do."""
    group = "" if stage.group is None else f"group {stage.group}: "
    late = stage.phase.startswith("cohort.") or ".c." in (stage.scope or "")
    if late and stage.step is not None:
        return f"cohort {stage.step + 1} of whoever is ready"
    if stage.phase.startswith("round.") and stage.step is not None:
        attempt = f"attempt {(stage.attempt or 0) + 1} of {found.attempts}"
        return f"{group}step {stage.step + 1}, {kind_label(stage.kind or '').lower()}, {attempt}"
    if stage.phase.startswith("set-up."):
        number = int((stage.scope or "0").rpartition(".")[2]) + 1
        return f"{group}set-up {number} of masking keys"
    return group.removesuffix(": ")


def waiting(found: Timeline, stage: Stage) -> str:
    """What is waited for, since when, and until when at most."""
    if stage.phase == "over":
        return "nothing: the run is over" + (f" ({found.reason})" if found.reason else "")
    if stage.phase in ("between", "round.opening", "draw.failed"):
        what = "the coordinator itself, which adds up and thinks"
    elif not stage.waits_for:
        what = "nothing more from the hospitals"
    elif stage.phase == "connect":
        ready = sum(lane.doing is not Doing.NOT_ENROLLED for lane in found.lanes)
        signed = sum(
            lane.doing not in (Doing.NOT_ENROLLED, Doing.NOT_APPROVED) for lane in found.lanes
        )
        so_far = f"{ready} enrolled, {signed} approved, {len(stage.answered)} connected"
        what = f"hospitals to connect: {names(stage.waits_for)} ({so_far})"
    elif stage.phase in RECONNECT:
        needed = "" if stage.phase == "reconnect.all" else " that are needed"
        so_far = f"{len(stage.answered)} of {stage.enough}{needed}"
        what = f"hospitals to connect: {names(stage.waits_for)} ({so_far})"
    else:
        thing = (asked_of_many if len(stage.waits_for) > 1 else asked)(stage.phase)
        what = f"{thing} of {names(stage.waits_for)}"
    return what + since(found, stage.since) + until(found, stage)


def following(found: Timeline, stage: Stage) -> str:
    """What comes next, also where the deadline passes first."""
    if stage.phase == "over":
        return ""
    usual = usual_next(stage.phase)
    if stage.deadline is None or not stage.waits_for:
        return usual
    if stage.phase in ("connect", "reconnect.all"):
        return usual
    if stage.phase == "reconnect.enough":
        return f"{usual}; at the deadline the run stops and can be continued"
    if stage.phase == "reconnect.same":
        return f"{usual}; at the deadline with whoever is there"
    late = names(stage.waits_for)
    last = (stage.attempt or 0) + 1 >= found.attempts
    again = "the run ends" if last else "the step is tried again with fresh keys"
    if stage.phase == "set-up.advertise" or stage.phase == "round.collect":
        short = (stage.enough or 0) - len(stage.answered)
        if short <= 0:
            return f"{usual}; at its own deadline without {late}"
        end = "the set-up is repeated" if stage.phase == "set-up.advertise" else again
        have = "has" if short == 1 else "have"
        return f"{usual}, as soon as {short} more {have} answered; at the deadline {end}"
    if stage.phase.startswith("set-up."):
        return f"{usual}; at the deadline the set-up is repeated without {late}"
    if stage.phase == "round.audit":
        return usual
    if stage.phase == "draw.reveal":
        return f"{usual}; at the deadline the draw begins anew"
    short = (stage.enough or 0) - len(stage.answered)
    if short <= 0:
        return usual
    are = "is" if short == 1 else "are"
    return f"{usual}; {short} more {are} needed by the deadline, or {again}"


def doing(found: Timeline, lane: Lane, phase: str) -> str:
    """What a site is at, in a few words."""
    at = _at(found, lane, phase)
    if lane.hindered is None:
        return at
    waits = f"waits: {HINDRANCES[lane.hindered.hindrance.cause]}"
    return f"{waits}; {at}" if at else waits


def _at(found: Timeline, lane: Lane, phase: str) -> str:
    gone = "" if lane.connected is not False else _gone(found, lane)
    match lane.doing:
        case Doing.NOT_ENROLLED:
            return "has not enrolled with its invitation"
        case Doing.NOT_APPROVED:
            return "its approval is not here" + (f", {gone}" if gone else "")
        case Doing.WAITED_FOR if phase in CONNECTS:
            return gone or "connecting"
        case Doing.WAITED_FOR:
            usual = "" if lane.usual_s is None else f" (usual: {span(lane.usual_s)})"
            return f"owes its {asked(phase)}{usual}" + (f", {gone}" if gone else "")
        case Doing.ANSWERED if phase in CONNECTS:
            return "connected"
        case Doing.ANSWERED if phase in ("between", "round.opening"):
            return "answered"
        case Doing.ANSWERED:
            return f"gave its {asked(phase)}"
        case Doing.REFUSED:
            return "refused"
        case Doing.MISSING:
            return "missed the deadline" + (f", {gone}" if gone else "")
        case _ if phase == "over":
            return "done"
        case Doing.LEFT_OUT:
            return "not in this cohort" + (f", {gone}" if gone else "")
    return gone or ("nothing asked of it" if lane.connected is not None else "")


def refusal(lane: Lane) -> str:
    """A site's last refusal: what it let be said, and the number to quote on the telephone."""
    if lane.refusal is None:
        return ""
    cause = lane.refusal.cause
    words = PLAIN if cause is None else f"{cause.value}: {CAUSES[cause]}"
    number = f"incident {lane.refusal.incident}" if lane.refusal.incident else "no number"
    return f"refused {about(lane.refusal.about)}, {number}; {words}"


def hindrance(found: Timeline, lane: Lane) -> str:
    """What a site says that it waits for, since when, and under which number."""
    if lane.hindered is None:
        return ""
    said = lane.hindered.hindrance
    since = span(_age(found, lane.hindered.since))
    return (
        f"waits: {HINDRANCES[said.cause]}, since {since}, incident {said.incident}; it goes on by "
        "itself when there is room"
    )


def about(scope: str) -> str:
    """A scope in words: ``step 3, attempt 1``, ``set-up 2``, ``the draw of groups``."""
    parts = scope.split(".")
    if len(parts) >= 3 and parts[-3] == "r":
        return f"step {int(parts[-2]) + 1}, attempt {int(parts[-1]) + 1}"
    if len(parts) >= 2 and parts[-2] == "c":
        return f"cohort {int(parts[-1]) + 1}"
    if len(parts) >= 2 and parts[-2] == "v":
        return f"training from version {int(parts[-1])} of the model"
    if len(parts) >= 2 and parts[-2] == "b":
        return f"set-up {int(parts[-1]) + 1}"
    return "the draw of groups" if scope.startswith("draw.") else "the run"


def tally(lane: Lane) -> str:
    """How many of the rounds it answered, and of the late cohorts that it was in."""
    over = len(lane.marks) - lane.count(Mark.OPEN) - lane.count(Mark.NOT_READY)
    return f"{lane.count(Mark.ANSWERED)} of {over}" if over else ""


def span(seconds: float) -> str:
    """A length of time as people say it: ``0.8 s``, ``41 s``, ``4 min 12 s``, ``3 h 05 min``."""
    seconds = max(seconds, 0.0)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, left = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {left:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24} h"


def since(found: Timeline, at: datetime | None) -> str:
    """For how long already: ``, since 41 s``; nothing where that is not known."""
    return "" if at is None else f", since {span(_age(found, at))}"


def until(found: Timeline, stage: Stage) -> str:
    """For how long more at most, if anything is waited for and has an end."""
    if stage.deadline is None or not stage.waits_for:
        return ""
    left = (stage.deadline - found.at).total_seconds()
    if left >= 0:
        return f"; {span(left)} more at most"
    return f"; the deadline passed {span(-left)} ago"


def _gone(found: Timeline, lane: Lane) -> str:
    if lane.heard is None:
        return "not connected"
    return f"not heard of for {span(_age(found, lane.heard))}"


def _age(found: Timeline, since: datetime) -> float:
    return (found.at - since).total_seconds()
