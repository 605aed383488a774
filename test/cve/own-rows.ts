import type { Row } from './row.ts';

const folders = 'test/e2e/kernel-folders.test.ts';
const unpackLimits = 'runtime/images/unpack/unpack-limits.test.ts';
const unpackPool = 'runtime/images/unpack/unpack-pool.test.ts';
const hostDoors = 'cni-plugins/attach/host-doors.test.ts';
const publish = 'cni-plugins/overlay/network-services/publish.test.ts';
const policyFiles = 'cni-plugins/policy/kubernetes/folder.test.ts';
const serviceFiles = 'cni-plugins/services/description/folder.test.ts';
const policies = 'cni-plugins/policy/kubernetes/read.test.ts';
const claims = 'cni-plugins/services/control/core.test.ts';
const failover = 'cni-plugins/overlay/etcd/failover.test.ts';
const membership = 'cni-plugins/overlay/membership.test.ts';

/** Flaws that were found in Portcullis itself, by reading and attacking it from outside: each is a class, and the tests hold all of it. */
export const ownRows: readonly Row[] = [
  {
    id: 'request that ends a service',
    what: 'trust service: a name of a request cannot be sent in a header, and the answer’s failure is not handled',
    held: [
      ['trust/notary/routes.test.ts', 'a name that none can have is refused where the route is read, by which name it is'],
      ['trust/notary/answer.test.ts', 'by a header that cannot be sent is a 500 without that header'],
      ['trust/notary/answer.test.ts', 'by a guard, a store or a collection that throws is a 500'],
    ],
  },
  {
    id: 'ports of the host by an annotation',
    what: 'services: a pod opens ports of the host, or takes those of programs of the host',
    held: [
      ['test/e2e/network.test.ts', 'an annotation that takes ports of the host is refused, and changes nothing outside the pod'],
      [
        hostDoors,
        'ingress ports are opened by the network’s file: to its namespaces, in its ranges, from 1024 on, where no program of the host is',
      ],
      [hostDoors, 'a host port below 1024, or one of a program of the host, is that program’s'],
      ['entitlements/ceiling/asked.test.ts', 'ports of the host are held by privileged and by host.ports alone'],
    ],
  },
  {
    id: 'service of another namespace',
    what: 'services: a stranger joins a service and receives its connections',
    held: [
      [hostDoors, 'a service belongs to the namespace of its first member, which has so many of them'],
      [
        publish,
        'a service belongs to the namespace of its first member on any host: of two that claim it at once one has it, and the other is refused',
      ],
    ],
  },
  {
    id: 'name that shadows another',
    what: 'DNS: a pod is called like a host of the Internet, or like a pod of another namespace',
    held: [
      [
        'cni-plugins/dns/name-table.test.ts',
        'a name of two namespaces is the asker’s own, to others that of who had it first; one with a dot is never a pod’s',
      ],
    ],
  },
  {
    id: 'virtual addresses without end',
    what: 'overlay: one namespace takes all subnets for virtual addresses, and keeps those that are empty',
    held: [
      [publish, 'a namespace has so many services and no more; addresses that it names take few subnets from hosts, and give them back'],
    ],
  },
  {
    id: 'MAC address of another interface',
    what: 'networks: a pod asks for the MAC address of another pod, of the bridge or of the host',
    held: [[hostDoors, 'a MAC address of another interface, of the bridge, of a link of the host, or of our own numbering is refused']],
  },
  {
    id: 'name of the launcher',
    what: 'images: a link at /.portcullis-launcher of an image puts another program before Landlock',
    held: [
      ['test/e2e/launcher-name.test.ts', 'is refused where the image holds ${what} (${handler})'],
      ['test/e2e/launcher-name.test.ts', 'is looked at before each command: another program there is not run (${handler})'],
    ],
  },
  {
    id: 'time of unpacking',
    what: 'images: a small layer of many links, or of deep paths, occupies the unpacking Workers without end',
    held: [
      ['runtime/images/unpack/unpack-cost.test.ts', '${name}: twice as many cost about twice as much'],
      [unpackLimits, 'hard links to files below, folders that no entry lists, and paths are bounded in count and sum'],
      [unpackPool, 'a cancelled layer leaves its Worker in the middle of its look-ups'],
      [unpackPool, 'a layer that overruns loses its Worker; layers beside it begin again, and its own pull alone fails and leaves nothing'],
    ],
  },
  {
    id: 'time of metadata',
    what: 'trust: metadata of quadratic cost occupy the Worker that decides about all other images',
    held: [
      ['trust/tuf/cost.test.ts', 'more signatures or keys than any repository has are refused, whatever they are'],
      ['trust/tuf/cost.test.ts', 'each key is tried once, however many signatures a file has of it'],
      ['trust/tuf/requirement/held-up.test.ts', 'hold up no answer about another service'],
      ['trust/notary/judge.test.ts', 'an update of one collection that takes long holds up no other collection'],
      ['trust/verdict/decider.test.ts', 'a decision that takes longer than it may is an error, never a verdict, and the next one is made'],
    ],
  },
  {
    id: 'memory of unpacking',
    what: 'images: attributes, names and link targets of an archive are kept until its end',
    held: [
      [unpackLimits, '${what} is refused before it is read'],
      [unpackLimits, 'what stays in memory until the end of a layer is bounded in sum'],
      [unpackLimits, 'a layer of ${what} is refused, and memory stays below ${mostMebibytes} MiB'],
    ],
  },
  {
    id: 'volumes on /dev, /proc and /sys',
    what: 'volumes: one at a folder of the kernel undoes masked paths',
    held: [[folders, 'a volume is mounted at one only where it can do no harm (${handler})']],
  },
  {
    id: 'WORKDIR through a link',
    what: 'images: the working directory leads to a descriptor of the runtime',
    held: [[folders, 'a working directory is followed through volumes, and again before each command (CVE-2024-21626) (${handler})']],
  },
  {
    id: 'lenient certificates',
    what: 'signatures: a second reader of certificates ignores critical extensions and name constraints, and takes what is not DER',
    held: [
      ['trust/x509/strict-certificates.test.ts', '${reader} refuses ${what}'],
      ['trust/x509/name-constraints.test.ts', "${form}: ${what} is ${inside ? 'inside' : 'refused'}"],
      ['trust/x509/hostile.test.ts', 'every bit of a certificate, flipped: read in its one encoding, or refused'],
    ],
  },
  {
    id: 'redirects',
    what: 'registries and all other servers: an answer leads the client to addresses of this machine',
    held: [
      ['base/distribution/redirects.test.ts', 'does not redirect a blob to ${host}'],
      ['base/http/client.test.ts', 'to a name that resolves to another address the second time is refused (DNS rebinding)'],
      ['test/house/outgoing.test.ts', 'goes through base/http, but for the files that are named here'],
    ],
  },
  {
    id: 'roots that end unseen',
    what: 'sigstore: the roots that ship end, and nobody is warned',
    held: [
      ['trust/sigstore/seeds.test.ts', 'the seeds are those of the installed package, and our TUF client believes them'],
      ['trust/sigstore/seeds.test.ts', 'a root that has ended begins an update all the same, to one that holds'],
      ['cli/doctor/seeds.test.ts', 'the seed ${name} is reported 59 days before its end, with what to do, and not 61 days before'],
    ],
  },
  {
    id: 'emptied file of policies',
    what: 'NetworkPolicies: a file that is empty, half written or gone removes all policies',
    held: [
      [policyFiles, 'a file that is emptied or broken keeps its last good version, is a problem, and is read again when it is right'],
      [policyFiles, 'a file is read when it is quiet: one that changes all the time keeps its last good version'],
      [policyFiles, 'a folder that is gone, cannot be listed, or is another one and empty keeps all, through a restart too'],
      [policies, 'an empty, half written or foreign file says nothing; an empty List is no policies'],
    ],
  },
  {
    id: 'emptied file of services',
    what: 'services: a file that is empty or half written, or a folder that is not mounted any more, removes services',
    held: [
      [serviceFiles, 'a file that is emptied or broken keeps its last good version; one that is removed takes its services with it'],
      [serviceFiles, 'a folder that is gone, cannot be listed, or is another one and empty keeps all, through a restart too'],
    ],
  },
  {
    id: 'one object that stops all others',
    what: 'NetworkPolicies: one object that is not valid, or a large dump, makes the policies of a whole node stale',
    held: [
      [policies, 'an object that is not valid is reported with its place and isolates what it may select; the others of its file hold'],
      [policies, 'what the API takes is understood'],
      [policies, '2,000 policies in one dump are read, each as in a small file, and places are those of the file'],
    ],
  },
  {
    id: 'address that another service has',
    what: 'services: an external address takes the ClusterIP of another service, and a refused address freezes the rest of its service',
    held: [
      [claims, 'a cluster address beats that of a load balancer, and that an external one, in whichever order they come'],
      [claims, 'a refused address freezes neither the other ports nor the endpoints of its service'],
    ],
  },
  {
    id: 'pod’s address from elsewhere',
    what: 'networks: packets from the uplink, or from another port of the bridge, have a local pod’s source address',
    held: [
      [
        'cni-plugins/policy/forged-senders.test.ts',
        'what an uplink sends as a pod reaches neither pods nor the host, with rp_filter ${filter}',
      ],
      ['cni-plugins/policy/forged-senders.test.ts', 'another port of the bridge sends nothing as a pod, and does not take its address'],
    ],
  },
  {
    id: 'untracked traffic',
    what: 'NetworkPolicies: what a pod and its node exchange without connection tracking is dropped, or passes between pods',
    held: [
      [
        'cni-plugins/policy/untracked.test.ts',
        'a pod that a policy isolates reaches its node and is reached by it without connection tracking',
      ],
      [
        'cni-plugins/policy/untracked.test.ts',
        'between pods, what has no connection passes in neither direction where a policy isolates one of them',
      ],
    ],
  },
  {
    id: 'invalid segments',
    what: 'services: a segment of no connection reaches the client from the backend’s own address, and the client resets the connection',
    held: [
      [
        'cni-plugins/services/invalid-segments.fixture.ts',
        'no segment outside a known connection reaches the client from the backend’s own address',
      ],
      ['cni-plugins/services/invalid-segments.fixture.ts', 'nor to a host that masquerades, which would end the connection'],
      [
        'cni-plugins/services/ipvs/tables.test.ts',
        'segments of no connection that come from a backend are dropped; the backends are known when the tables are built anew',
      ],
    ],
  },
  {
    id: 'etcd member that does not answer',
    what: 'overlay: hosts stay with a member that answers pings alone, or with certificates that have ended',
    held: [
      [failover, 'one that answers pings and no calls is left: by calls, by the lease before it ends, and by the watch'],
      [
        'cni-plugins/overlay/etcd/rotation.test.ts',
        'a client whose certificate has ended speaks to etcd again as soon as its files are others',
      ],
    ],
  },
  {
    id: 'routes of another host',
    what: 'overlay: one host’s credentials of etcd write what other hosts say',
    held: [
      [membership, 'a host cannot write, delete or lease keys of another, nor what is an administrator’s'],
      [
        'cni-plugins/overlay/ownership.test.ts',
        'a record that names another host’s ${what} is refused, with and without a claim of it; the former one stays',
      ],
    ],
  },
  {
    id: 'claims of the overlay that are lost',
    what: 'overlay: a lost answer claims a second subnet, and a refused service is not asked for again',
    held: [
      [membership, 'a claim whose answer is lost is not made twice: the host has one subnet, and the same one'],
      [
        'cni-plugins/overlay/spread-services.test.ts',
        'a service that this host refuses is reported, and asked for again until what is in its way goes',
      ],
    ],
  },
];
