-------------------------------- MODULE Trace --------------------------------
(***************************************************************************)
(* Checks recorded runs against Life, as etcd's raft and CCF do: a trace   *)
(* is explained when Life has a behaviour with the trace's events in their *)
(* order. TraceData, which is written for each check, has the traces.      *)
(*                                                                         *)
(* `events` have one order. `links` come from a second database: each      *)
(* states the least and the greatest number of events before it.           *)
(***************************************************************************)
EXTENDS Life, Sequences, TLC, TraceData

VARIABLES
  trace,  \* The number of the trace.
  at,     \* The number of its explained events.
  atLink  \* The number of its explained links.

Events == Traces[trace].events
Links == Traces[trace].links
Position == at + atLink

TraceNamings == [Containers -> STRING]

TraceInit ==
  /\ trace \in DOMAIN Traces
  /\ name = [c \in Containers |-> IF c \in DOMAIN Traces[trace].names THEN Traces[trace].names[c] ELSE c]
  /\ Init
  /\ host = Traces[trace].host
  /\ at = 0
  /\ atLink = 0

\* The same record written again.
Again(is) == is /\ up /\ UNCHANGED vars

PodEvent(e) ==
  \/ e.to = "creating" /\ (PodIntend \/ PodTakeBack)
  \/ e.to = "ready" /\ PodReady
  \/ e.to = "stopping" /\ PodStop
  \/ e.to = "stopped" /\ PodStopped
  \/ e.to = "gone" /\ PodGone
  \/ Again(e.to = pod /\ pod = podKnown /\ pod \in {"creating", "ready", "stopping"})

LinkEvent(e) ==
  \/ e.to = "attaching" /\ LinkIntend
  \/ e.to = "ready" /\ LinkReady
  \/ e.to = "detaching" /\ LinkLeave
  \/ e.to = "gone" /\ LinkGone
  \/ e.to = "raised" /\ LinkRaise
  \/ Again(e.to = link /\ link \in {"attaching", "detaching"})

ContainerEvent(e) ==
  LET c == e.id IN
  \/ e.to = "creating" /\ (ContainerIntend(c, e.image, e.verdict) \/ ContainerTakeBack(c))
  \/ e.to = "created" /\ ContainerCreated(c, e.how = "unmade")
  \/ e.to = "starting" /\ ContainerStarting(c)
  \/ e.to = "running" /\ ContainerRunning(c)
  \/ e.to = "exited" /\ e.how = "error" /\ ContainerFailed(c)
  \/ e.to = "exited" /\ e.how # "error" /\ ContainerExited(c) /\ code'[c] = e.how
  \/ e.to = "removing" /\ ContainerRemoving(c)
  \/ e.to = "gone" /\ ContainerGone(c)
  \/ Again(e.to = container[c] /\ e.to = known[c] /\ (e.to \in {"creating", "created", "starting", "running"} \/ (e.to = "exited" /\ e.how = code[c])))

ProcessEvent(e) ==
  \/ e.to = "waiting" /\ ProcessMake(e.id)
  \/ e.to = "running" /\ ProcessStart(e.id)
  \/ e.to = "dead" /\ ProcessEnd(e.id)

ImageEvent(e) ==
  \/ e.to = "ready" /\ PullRecord(e.id, e.verdict)
  \/ e.to = "gone" /\ ImageRemove(e.id)
  \/ e.to = "swept" /\ Sweep(e.id)

\* The records that a restart of the machine left.
Kept(e) == [c \in Containers |-> IF c \in DOMAIN e.back THEN e.back[c] ELSE container[c]]

Event(e) ==
  \/ e.kind = "pod" /\ PodEvent(e)
  \/ e.kind = "link" /\ LinkEvent(e)
  \/ e.kind = "container" /\ ContainerEvent(e)
  \/ e.kind = "process" /\ ProcessEvent(e)
  \/ e.kind = "exit" /\ ExitKnown(e.id, e.to)
  \/ e.kind = "image" /\ ImageEvent(e)
  \/ e.kind = "verdict" /\ Judge(e.id)
  \/ e.kind = "machine" /\ container' = Kept(e) /\ Reboot
  \/ e.kind = "daemon" /\ Crash

\* Steps that no trace shows: the next event needs them. `machine`: the trace shows processes as well.
UnseenProcess(e) ==
  \/ e.kind = "container" /\ LET c == e.id IN
       \/ e.to \in {"created", "exited"} /\ ProcessMake(c)
       \/ e.to \in {"running", "exited"} /\ ProcessStart(c)
       \/ e.to = "exited" /\ e.how \in {"own", "lost"} /\ (ProcessEnd(c) \/ ExitKnown(c, e.how))
       \/ e.to = "gone" /\ (Destroy(c) \/ ProcessEnd(c))
  \/ e.kind = "pod" /\ e.to = "stopped" /\ \E c \in Containers : Destroy(c)
\* A row is deleted again after a write that deleted it and was reported as failed.
UnseenDeletion(e) ==
  \/ e.kind = "pod" /\ e.to = "gone" /\ \E c \in Containers : container[c] = "gone" /\ ContainerGone(c)
  \/ e.kind = "image" /\ e.to = "swept" /\ ~image[e.id] /\ ImageRemove(e.id)
UnseenPull(e) ==
  /\ e.kind = "image" /\ e.to = "ready"
  /\ \/ PullAsk(e.id)
     \/ e.verdict \in judged /\ PullAdmit(e.id, e.verdict)
     \/ PullUnpack(e.id)
     \/ PullSync(e.id)
     \/ PullPlace(e.id)
     \/ Restore(e.id)

Unseen(e) ==
  \/ ~Traces[trace].machine /\ UnseenProcess(e)
  \/ UnseenPull(e)
  \/ UnseenDeletion(e)

HasEvent == at < Len(Events)
HasLink == atLink < Len(Links)

TakeEvent ==
  /\ HasEvent
  /\ HasLink => at < Links[atLink + 1].most
  /\ Event(Events[at + 1])
  /\ at' = at + 1
  /\ UNCHANGED <<trace, atLink>>
TakeLink ==
  /\ HasLink
  /\ at >= Links[atLink + 1].least
  /\ Event(Links[atLink + 1])
  /\ atLink' = atLink + 1
  /\ UNCHANGED <<trace, at>>
TakeUnseen ==
  /\ Restart \/ (HasEvent /\ Unseen(Events[at + 1]))
  /\ UNCHANGED <<trace, at, atLink>>

TraceNext == (TakeEvent \/ TakeLink \/ TakeUnseen) /\ faults' <= Traces[trace].faults

\* Reports how far each trace is explained; it restricts nothing. One worker.
ASSUME \A t \in DOMAIN Traces : TLCSet(t, 0)
Tell ==
  \/ Position < TLCGet(trace)
  \/ TLCSet(trace, Position + 1) /\ PrintT(<<"explained", trace, at, atLink>>)
=============================================================================
