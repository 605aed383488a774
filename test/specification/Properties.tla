------------------------------ MODULE Properties ------------------------------
(***************************************************************************)
(* The properties of Life: actions that are not delayed forever, facts     *)
(* that are true in every state, and events that happen in the end.        *)
(***************************************************************************)
EXTENDS Life

(* Actions that the daemon, the monitors and the kernel do not delay forever. *)

PodIsToStop == Asked("stop", "pod") \/ Asked("remove", "pod") \/ lost
IsToStop(c) == Asked("stop", c) \/ Asked("remove", c) \/ podKnown = "stopping"
IsToGo(c) == Asked("remove", c) \/ (podKnown = "stopped" /\ Asked("remove", "pod"))

PodFairness ==
  /\ WF_vars(PodReady)
  /\ WF_vars(PodTakeBack)
  /\ WF_vars(PodStop /\ PodIsToStop)
  /\ WF_vars(PodStopped)
  /\ WF_vars(PodGone /\ (Asked("remove", "pod") \/ (podKnown \in {"absent", "creating"} /\ (link = "gone" \/ lost \/ pod # podKnown))))
  /\ WF_vars(LinkIntend) /\ WF_vars(LinkReady) /\ WF_vars(LinkGone)
  /\ WF_vars(LinkLeave /\ (podKnown = "stopping" \/ pod # podKnown))
ContainerFairness(c) ==
  /\ WF_vars(ProcessMake(c))
  /\ WF_vars(ContainerCreated(c, FALSE))
  /\ WF_vars(ContainerGone(c) /\ (known[c] = "removing" \/ podKnown # "ready" \/ container[c] # known[c]))
  /\ WF_vars(ProcessStart(c))
  /\ WF_vars(ContainerRunning(c))
  /\ WF_vars(Kill(c))
  /\ WF_vars(ProcessEnd(c) /\ process[c] = "dying")
  /\ WF_vars(\E how \in {"own", "lost"} : ExitKnown(c, how))
  /\ WF_vars(ContainerExited(c))
  /\ WF_vars(ContainerFailed(c) /\ process[c] = "none" /\ IsToStop(c))
  /\ WF_vars(ContainerRemoving(c) /\ IsToGo(c))
  /\ WF_vars(Destroy(c) /\ Alive(c))
ImageFairness(i) ==
  /\ WF_vars(\E v \in Verdicts : PullAdmit(i, v))
  /\ WF_vars(PullUnpack(i)) /\ WF_vars(PullSync(i)) /\ WF_vars(PullPlace(i))
  /\ WF_vars(\E v \in Verdicts : PullRecord(i, v))
  /\ WF_vars(Sweep(i))
  /\ WF_vars(Restore(i))

Spec ==
  /\ Init /\ [][Next]_vars
  /\ WF_vars(Restart)
  /\ PodFairness
  /\ \A c \in Containers : ContainerFairness(c)
  /\ \A i \in Images : ImageFairness(i)

-----------------------------------------------------------------------------
(* Safety. *)

TypeOK ==
  /\ host \in BOOLEAN
  /\ pod \in PodPhases
  /\ podKnown \in PodPhases
  /\ link \in LinkStates
  /\ lost \in BOOLEAN
  /\ container \in [Containers -> Phases]
  /\ known \in [Containers -> Phases]
  /\ process \in [Containers -> {"none", "waiting", "running", "dying", "dead"}]
  /\ exit \in [Containers -> {"unknown", "own", "lost"}]
  /\ code \in [Containers -> {"none", "own", "lost", "error"}]
  /\ name \in Namings
  /\ uses \in [Containers -> {Nothing} \cup [image : Images, verdict : Verdicts]]
  /\ image \in [Images -> BOOLEAN]
  /\ listed \in [Images -> Listings]
  /\ pull \in [Images -> PullStages]
  /\ stored \in [Images -> BOOLEAN]
  /\ judged \subseteq Verdicts
  /\ asked \subseteq {"stop", "remove"} \X ({"pod"} \cup Containers)
  /\ up \in BOOLEAN
  /\ faults \in 0..MaxFaults

\* A pod whose record is ready has its link, unless the machine restarted.
ReadyPodHasItsLink == podKnown = "ready" /\ ~host /\ ~lost => link = "ready"

\* No process of a container runs in a pod that does not exist yet, or no longer exists.
ProcessHasItsPod == \A c \in Containers : Alive(c) => pod \in {"ready", "stopping"}

\* Nothing belongs to a pod that is gone.
GoneLeavesNothing ==
  pod = "gone" => Detached /\ \A c \in Containers : known[c] \in {"absent", "creating", "removing", "gone"} /\ process[c] \in {"none", "dead"}

\* A container whose record is running was started, and one whose record has ended does not run.
RecordIsTrue ==
  \A c \in Containers :
    /\ container[c] = "running" => process[c] \in {"running", "dying", "dead"}
    /\ container[c] = "exited" => ~Alive(c)
    /\ process[c] = "running" => container[c] \in {"starting", "running", "removing"}

\* A name belongs to one record.
NamesAreUnique ==
  \A c \in Containers, other \in Containers :
    c # other /\ name[c] = name[other] => container[c] \in {"absent", "gone"} \/ container[other] \in {"absent", "gone"}

\* An exit code is the process's own, or is recorded as lost.
CodeIsTrue == \A c \in Containers : code[c] \in {"own", "lost"} => code[c] = exit[c]

\* No container has a process without a verdict that admits its image.
VerdictBeforeUse == \A c \in Containers : process[c] # "none" => uses[c].verdict \in judged

\* An image that is listed and not in doubt is whole, and so is the image that a container uses, also after its removal. No image is recorded without
\* a verdict.
ImagesAreWhole ==
  /\ \A i \in Images : (listed[i] = "yes" => stored[i]) /\ (image[i] => judged # {})
  /\ \A c \in Containers : container[c] \notin {"absent", "removing", "gone"} => stored[uses[c].image]

(* Liveness: every request ends, and every event reaches the record that the daemon knows and answers from. *)

CreationEnds == podKnown = "creating" ~> podKnown # "creating"
StopEnds == Asked("stop", "pod") ~> podKnown \in {"stopped", "gone"}
RemoveEnds == Asked("remove", "pod") ~> podKnown = "gone"
LostPodStops == lost /\ podKnown = "ready" ~> podKnown # "ready"
LinkIsLetGo == link = "detaching" ~> link = "gone"
ContainerCreationEnds == \A c \in Containers : known[c] = "creating" ~> known[c] # "creating"
ContainerStopEnds == \A c \in Containers : Asked("stop", c) ~> known[c] \in {"exited", "gone"}
ContainerRemoveEnds == \A c \in Containers : Asked("remove", c) ~> known[c] = "gone"
EndIsRecorded ==
  \A c \in Containers :
    process[c] = "dead" /\ known[c] \in {"created", "starting", "running"} ~> known[c] \in {"exited", "removing", "gone"}
KilledEnds == \A c \in Containers : process[c] = "dying" ~> process[c] = "dead"
DoubtEnds == \A i \in Images : listed[i] = "doubted" ~> listed[i] # "doubted"
PullEnds == \A i \in Images : pull[i] # "no" ~> pull[i] = "no"
===============================================================================
