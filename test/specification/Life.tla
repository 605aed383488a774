-------------------------------- MODULE Life --------------------------------
(***************************************************************************)
(* The lifecycle of one pod: its sandbox, its attachment to the network,   *)
(* its containers with their processes, and the images that they use. Pods *)
(* share only images, so one pod is enough.                                *)
(*                                                                         *)
(* `pod`, `container`, `link` and `image` are the contents of the          *)
(* databases: one durable write is one step. `podKnown`, `known` and       *)
(* `listed` are the daemon's state in memory: a write that was reported as *)
(* failed may have taken effect. `process`, `exit` and `stored` are the    *)
(* state of the machine, which survives a kill of the daemon. Ids are      *)
(* never reused.                                                           *)
(*                                                                         *)
(* A call that fails without an effect is not a step: its request stays    *)
(* open, and fairness implies that it does not fail forever. A call that   *)
(* fails and took effect is the step, or for a record the `Fault` of its   *)
(* write. The loss of a Worker is one of these two; the loss of the Worker *)
(* that writes is the end of the daemon (`Crash`).                         *)
(***************************************************************************)
EXTENDS Naturals, FiniteSets

CONSTANTS Containers, Images, Verdicts,
          Namings,    \* The possible names of containers: functions from Containers. Two attempts of one container have two names.
          Pulls,      \* Whether images are pulled, removed and swept. Otherwise they stay.
          MaxFaults,  \* How often the daemon is killed, the machine restarts, or a write that took effect fails.
          MaxAsked    \* How many requests are open.

VARIABLES
  host,       \* Whether the pod uses the host network namespace.
  pod,        \* The record of the sandbox.
  link,       \* The record of its attachment.
  podKnown,   \* The same in the memory of the daemon.
  lost,       \* Whether the machine restarted since the pod was created.
  container,  \* The records of its containers.
  known,      \* The same in the memory of the daemon.
  process,    \* Their first processes.
  exit,       \* The monitor's record of the end of a process.
  code,       \* The exit code in the record.
  name,       \* Their names, which clients choose.
  uses,       \* The image and the verdict with which a container was created.
  image,      \* Whether the image is recorded.
  listed,     \* Its state in the daemon's memory: nothing, an image, or an image whose layers must be checked first.
  pull,       \* The progress of its pull.
  stored,     \* Whether its layers are in place.
  judged,     \* The verdicts in the log that admit.
  asked,      \* Requests of clients, which repeat them until they are answered.
  up,         \* Whether the daemon runs.
  faults

podVars == <<host, pod, podKnown, link, lost>>
containerVars == <<container, known, process, exit, code, name, uses>>
imageVars == <<image, listed, pull, stored, judged>>
restVars == <<asked, up, faults>>
vars == <<podVars, containerVars, imageVars, restVars>>

PodPhases == {"absent", "creating", "ready", "stopping", "stopped", "gone"}
LinkStates == {"none", "attaching", "ready", "detaching", "gone"}
Phases == {"absent", "creating", "created", "starting", "running", "exited", "removing", "gone"}
Listings == {"no", "yes", "doubted"}
PullStages == {"no", "asked", "admitted", "unpacked", "synced", "placed"}

Nothing == [image |-> "none", verdict |-> "none"]

Init ==
  /\ host \in BOOLEAN
  /\ pod = "absent"
  /\ podKnown = "absent"
  /\ link = "none"
  /\ lost = FALSE
  /\ container = [c \in Containers |-> "absent"]
  /\ known = [c \in Containers |-> "absent"]
  /\ process = [c \in Containers |-> "none"]
  /\ exit = [c \in Containers |-> "unknown"]
  /\ code = [c \in Containers |-> "none"]
  /\ name \in Namings
  /\ uses = [c \in Containers |-> Nothing]
  /\ image = [i \in Images |-> ~Pulls]
  /\ listed = [i \in Images |-> IF Pulls THEN "no" ELSE "yes"]
  /\ pull = [i \in Images |-> "no"]
  /\ stored = [i \in Images |-> ~Pulls]
  /\ judged = IF Pulls THEN {} ELSE Verdicts
  /\ asked = {}
  /\ up = TRUE
  /\ faults = 0

EachItsOwnName == {[c \in Containers |-> c]}
OneName == {[c \in Containers |-> "n"]}

Alive(c) == process[c] \in {"waiting", "running"}
\* A kill of the daemon, a restart of the machine, or a write that takes effect and is reported as failed.
Fault == faults < MaxFaults /\ faults' = faults + 1
Asked(what, whose) == <<what, whose>> \in asked

-----------------------------------------------------------------------------
(* The sandbox. *)

PodBecomes(phase) ==
  /\ up
  /\ pod' = phase
  /\ \/ podKnown' = phase /\ UNCHANGED faults
     \/ podKnown' = podKnown /\ Fault
  /\ UNCHANGED <<host, link, lost, containerVars, imageVars, asked, up>>

PodIntend == pod = "absent" /\ podKnown = "absent" /\ PodBecomes("creating")

\* A creation with a write that was reported as failed does not continue: it is rolled back.
InTheMaking == pod = "creating" /\ podKnown = "creating"

PodReady ==
  /\ InTheMaking
  /\ ~lost
  /\ host \/ link = "ready"
  /\ PodBecomes("ready")

\* The write that made it ready was reported as failed: its record becomes `creating` again before anything of it is rolled back.
PodTakeBack == pod = "ready" /\ podKnown = "creating" /\ PodBecomes("creating")

PodStop == podKnown = "ready" /\ PodBecomes("stopping")

\* No longer reachable over the network; its address is leased until the kernel has released the link.
Detached == link \in {"none", "detaching", "gone"}

PodStopped ==
  /\ podKnown = "stopping"
  /\ Detached
  /\ \A c \in Containers : known[c] \notin {"created", "starting", "running"} /\ ~Alive(c)
  /\ PodBecomes("stopped")

PodGone ==
  /\ \/ podKnown = "absent" /\ pod \notin {"absent", "gone"}
     \/ podKnown = "creating" /\ pod \in {"creating", "gone"}
     \/ podKnown = "stopped"
  /\ Detached
  /\ \A c \in Containers : known[c] \in {"absent", "gone"}
  /\ PodBecomes("gone")

-----------------------------------------------------------------------------
(* The attachment. *)

LinkBecomes(state) ==
  /\ up
  /\ link' = state
  /\ UNCHANGED <<host, pod, podKnown, lost, containerVars, imageVars, restVars>>

LinkIntend == ~host /\ ~lost /\ InTheMaking /\ link = "none" /\ LinkBecomes("attaching")
LinkReady == InTheMaking /\ link = "attaching" /\ LinkBecomes("ready")
LinkLeave ==
  /\ \/ link = "attaching"
     \/ link = "ready" /\ (InTheMaking \/ podKnown = "stopping")
  /\ LinkBecomes("detaching")
LinkGone == link = "detaching" /\ LinkBecomes("gone")

\* The pod gets more network access than none: only while it exists.
LinkRaise ==
  /\ up
  /\ link = "ready"
  /\ podKnown \in {"ready", "stopping"}
  /\ UNCHANGED vars

-----------------------------------------------------------------------------
(* Containers. *)

ContainerBecomes(c, phase) ==
  /\ up
  /\ container' = [container EXCEPT ![c] = phase]
  /\ \/ known' = [known EXCEPT ![c] = phase] /\ UNCHANGED faults
     \/ known' = known /\ Fault
WithItsProcess == UNCHANGED <<process, exit>>
Beside == UNCHANGED <<podVars, imageVars, asked, up>>

\* A record that the daemon knows reserves a name. A record that it does not know, because its write was reported as failed, is removed in the transaction
\* that takes the name (ContainerGone).
NameIsFree(c) == \A other \in Containers \ {c} : name[other] = name[c] => {container[other], known[other]} \subseteq {"absent", "gone"}

ContainerIntend(c, i, v) ==
  /\ container[c] = "absent" /\ known[c] = "absent"
  /\ NameIsFree(c)
  /\ podKnown = "ready"
  /\ listed[i] = "yes"
  /\ v \in judged
  /\ ContainerBecomes(c, "creating")
  /\ uses' = [uses EXCEPT ![c] = [image |-> i, verdict |-> v]]
  /\ WithItsProcess /\ Beside /\ UNCHANGED <<code, name>>

\* `unmade`: the OCI runtime refused to create it. There is no process, and its start fails.
ContainerCreated(c, unmade) ==
  /\ known[c] = "creating" /\ container[c] = "creating"
  /\ podKnown = "ready"
  /\ IF unmade THEN ~Alive(c) ELSE process[c] # "none"
  /\ ContainerBecomes(c, "created")
  /\ WithItsProcess /\ Beside /\ UNCHANGED <<code, name, uses>>

ContainerStarting(c) ==
  /\ known[c] = "created"
  /\ podKnown \in {"ready", "stopping"}
  /\ ContainerBecomes(c, "starting")
  /\ WithItsProcess /\ Beside /\ UNCHANGED <<code, name, uses>>

ContainerRunning(c) ==
  /\ known[c] = "starting"
  /\ process[c] \in {"running", "dying", "dead"}
  /\ ContainerBecomes(c, "running")
  /\ WithItsProcess /\ Beside /\ UNCHANGED <<code, name, uses>>

ContainerExited(c) ==
  /\ known[c] \in {"created", "starting", "running"}
  /\ process[c] = "dead"
  /\ exit[c] # "unknown"
  /\ ContainerBecomes(c, "exited")
  /\ code' = [code EXCEPT ![c] = exit[c]]
  /\ WithItsProcess /\ Beside /\ UNCHANGED <<name, uses>>

\* A failed start: the client starts another container, so the process of this one is killed.
ContainerFailed(c) ==
  /\ \/ known[c] = "created" /\ ~Alive(c)
     \/ known[c] = "starting"
  /\ ContainerBecomes(c, "exited")
  /\ code' = [code EXCEPT ![c] = "error"]
  /\ process' = [process EXCEPT ![c] = IF Alive(c) THEN "dying" ELSE @]
  /\ Beside /\ UNCHANGED <<exit, name, uses>>

ContainerRemoving(c) ==
  /\ known[c] \in {"creating", "created", "starting", "running", "exited"}
  /\ ContainerBecomes(c, "removing")
  /\ WithItsProcess /\ Beside /\ UNCHANGED <<code, name, uses>>

\* The write that made it created was reported as failed: its record becomes `creating` again before anything of it is rolled back.
ContainerTakeBack(c) ==
  /\ known[c] = "creating" /\ container[c] = "created"
  /\ ContainerBecomes(c, "creating")
  /\ WithItsProcess /\ Beside /\ UNCHANGED <<code, name, uses>>

ContainerGone(c) ==
  /\ known[c] \in {"creating", "removing"} \/ (known[c] = "absent" /\ container[c] \notin {"absent", "gone"})
  /\ process[c] \in {"none", "dead"}
  /\ ContainerBecomes(c, "gone")
  /\ WithItsProcess /\ Beside /\ UNCHANGED <<code, name, uses>>

-----------------------------------------------------------------------------
(* Processes. *)

ProcessBecomes(c, state) ==
  /\ process' = [process EXCEPT ![c] = state]
  /\ UNCHANGED <<container, known, exit, code, name, uses, faults>> /\ Beside

ProcessMake(c) ==
  up /\ known[c] = "creating" /\ container[c] = "creating" /\ podKnown = "ready" /\ process[c] = "none" /\ ProcessBecomes(c, "waiting")
ProcessStart(c) == up /\ known[c] = "starting" /\ process[c] = "waiting" /\ ProcessBecomes(c, "running")
ProcessEnd(c) == process[c] \in {"waiting", "running", "dying"} /\ ProcessBecomes(c, "dead")

Kill(c) ==
  /\ up
  /\ Alive(c)
  /\ Asked("stop", c) \/ podKnown = "stopping" \/ known[c] \in {"creating", "removing"}
  /\ ProcessBecomes(c, "dying")

\* Removes everything of it on the host.
Destroy(c) == up /\ known[c] \in {"creating", "removing"} /\ process[c] # "none" /\ ProcessBecomes(c, "dead")

\* The monitor writes the exit code, or is lost without writing it.
ExitKnown(c, how) ==
  /\ process[c] = "dead"
  /\ exit[c] = "unknown"
  /\ exit' = [exit EXCEPT ![c] = how]
  /\ UNCHANGED <<container, known, process, code, name, uses, faults>> /\ Beside

-----------------------------------------------------------------------------
(* Images. *)

Aside == UNCHANGED <<podVars, containerVars, restVars>>
PullBecomes(i, stage) == up /\ pull' = [pull EXCEPT ![i] = stage]

Judge(v) == up /\ judged' = judged \cup {v} /\ UNCHANGED <<image, listed, pull, stored>> /\ Aside

\* The write of an image, or of its removal: it is reported to the daemon as succeeded, or as failed.
ImageBecomes(i, is) ==
  /\ image' = [image EXCEPT ![i] = is]
  /\ \/ listed' = [listed EXCEPT ![i] = IF is THEN "yes" ELSE "no"] /\ UNCHANGED faults
     \/ listed' = listed /\ Fault

\* A listed image in doubt is checked before it is used (DoubtEnds).
PullAsk(i) == pull[i] = "no" /\ listed[i] # "doubted" /\ PullBecomes(i, "asked") /\ UNCHANGED <<image, listed, stored, judged>> /\ Aside
PullAdmit(i, v) ==
  pull[i] = "asked" /\ PullBecomes(i, "admitted") /\ judged' = judged \cup {v} /\ UNCHANGED <<image, listed, stored>> /\ Aside
PullUnpack(i) ==
  pull[i] = "admitted" /\ ~stored[i] /\ PullBecomes(i, "unpacked") /\ UNCHANGED <<image, listed, stored, judged>> /\ Aside
PullSync(i) == pull[i] = "unpacked" /\ PullBecomes(i, "synced") /\ UNCHANGED <<image, listed, stored, judged>> /\ Aside
PullPlace(i) ==
  /\ pull[i] = "synced" \/ (pull[i] = "admitted" /\ stored[i])
  /\ PullBecomes(i, "placed")
  /\ stored' = [stored EXCEPT ![i] = TRUE]
  /\ UNCHANGED <<image, listed, judged>> /\ Aside
\* The record and the verdict that admits it are one transaction.
PullRecord(i, v) ==
  /\ pull[i] = "placed"
  /\ v \in judged
  /\ PullBecomes(i, "no")
  /\ ImageBecomes(i, TRUE)
  /\ UNCHANGED <<stored, judged, asked, up>> /\ UNCHANGED <<podVars, containerVars>>
\* For example a denial.
PullFail(i) == pull[i] # "no" /\ PullBecomes(i, "no") /\ UNCHANGED <<image, listed, stored, judged>> /\ Aside

ImageRemove(i) ==
  /\ up
  /\ image[i] \/ listed[i] # "no"
  /\ ImageBecomes(i, FALSE)
  /\ UNCHANGED <<pull, stored, judged, asked, up>> /\ UNCHANGED <<podVars, containerVars>>

\* A start finds an image without its layers: they are unpacked again, or it is removed.
Restore(i) ==
  /\ up
  /\ listed[i] = "doubted"
  /\ stored' = [stored EXCEPT ![i] = TRUE]
  /\ listed' = [listed EXCEPT ![i] = "yes"]
  /\ UNCHANGED <<image, pull, judged>> /\ Aside

StoodOn(i) == \E c \in Containers : uses[c].image = i /\ container[c] # "gone"
Sweep(i) ==
  /\ up
  /\ stored[i] /\ listed[i] = "no"
  /\ pull[i] # "placed"
  /\ ~StoodOn(i)
  /\ stored' = [stored EXCEPT ![i] = FALSE]
  /\ UNCHANGED <<image, listed, pull, judged>> /\ Aside

-----------------------------------------------------------------------------
(* Events of the daemon, and requests to it. *)

Dies ==
  /\ up' = FALSE
  /\ Fault
  /\ podKnown' = pod
  /\ known' = container'
  /\ pull' = [i \in Images |-> "no"]
  /\ listed' = [i \in Images |-> IF ~image[i] THEN "no" ELSE IF stored[i] THEN "yes" ELSE "doubted"]
  /\ UNCHANGED asked

Crash ==
  /\ up
  /\ UNCHANGED container
  /\ Dies
  /\ UNCHANGED <<host, pod, link, lost, process, exit, code, name, uses, image, stored, judged>>

\* The possible records of a container after a loss of power: for one that has not ended, any write may be lost with all later ones
\* (docs/decisions/0035).
KeptOf(phase) ==
  CASE phase = "creating" -> {"gone", phase}
    [] phase = "created" -> {"gone", "creating", phase}
    [] phase = "starting" -> {"gone", "creating", "created", phase}
    [] phase = "running" -> {"gone", "creating", "created", "starting", phase}
    [] OTHER -> {phase}

Reboot ==
  /\ LET Any == UNION {KeptOf(container[c]) : c \in Containers}
     IN container' \in {kept \in [Containers -> Any] : \A c \in Containers : kept[c] \in KeptOf(container[c])}
  /\ Dies
  /\ lost' = (pod # "absent")
  /\ link' = IF link = "none" THEN "none" ELSE "gone"
  /\ process' = [c \in Containers |-> IF process[c] = "none" THEN "none" ELSE "dead"]
  /\ UNCHANGED <<host, pod, exit, code, name, uses, image, stored, judged>>

Restart == ~up /\ up' = TRUE /\ UNCHANGED <<podVars, containerVars, imageVars, asked, faults>>

Ask(what, whose) ==
  /\ ~Asked(what, whose)
  /\ Cardinality(asked) < MaxAsked
  /\ IF whose = "pod" THEN podKnown \notin {"absent", "creating"} ELSE known[whose] \notin {"absent", "creating"}
  /\ asked' = asked \cup {<<what, whose>>}
  /\ UNCHANGED <<podVars, containerVars, imageVars, up, faults>>

-----------------------------------------------------------------------------

PodNext == PodIntend \/ PodReady \/ PodTakeBack \/ PodStop \/ PodStopped \/ PodGone
LinkNext == LinkIntend \/ LinkReady \/ LinkLeave \/ LinkGone
ContainerNext(c) ==
  \/ \E i \in Images, v \in Verdicts : ContainerIntend(c, i, v)
  \/ \E unmade \in BOOLEAN : ContainerCreated(c, unmade)
  \/ ContainerStarting(c) \/ ContainerRunning(c) \/ ContainerExited(c) \/ ContainerFailed(c)
  \/ ContainerRemoving(c) \/ ContainerGone(c)
  \/ ProcessMake(c) \/ ProcessStart(c) \/ ProcessEnd(c) \/ Kill(c) \/ Destroy(c)
  \/ \E how \in {"own", "lost"} : ExitKnown(c, how)
ImageNext(i) ==
  \/ PullAsk(i) \/ PullUnpack(i) \/ PullSync(i) \/ PullPlace(i) \/ PullFail(i)
  \/ \E v \in Verdicts : PullAdmit(i, v) \/ PullRecord(i, v)
  \/ ImageRemove(i) \/ Restore(i) \/ Sweep(i)
Next ==
  \/ PodNext \/ LinkNext
  \/ \E c \in Containers : ContainerNext(c)
  \/ Pulls /\ \E i \in Images : ImageNext(i)
  \/ Crash \/ Reboot \/ Restart
  \/ \E what \in {"stop", "remove"}, whose \in {"pod"} \cup Containers : Ask(what, whose)
=============================================================================
