import type { Row } from './row.ts';

const folders = 'test/e2e/kernel-folders.test.ts';
const unpackLimits = 'runtime/images/unpack/unpack-limits.test.ts';
const unpackPool = 'runtime/images/layer-workers/layer-pool.test.ts';
const hostExposure = 'cni-plugins/engine/host-exposure.test.ts';
const publish = 'cni-plugins/overlay/network-services/publish.test.ts';
const policyFiles = 'cni-plugins/policy/kubernetes/folder.test.ts';
const serviceFiles = 'cni-plugins/services/description/folder.test.ts';
const policies = 'cni-plugins/policy/kubernetes/read.test.ts';
const claims = 'cni-plugins/services/control/core.test.ts';
const failover = 'cni-plugins/overlay/etcd/failover.test.ts';
const membership = 'cni-plugins/overlay/ownership/membership.test.ts';

/**
 * Classes of flaws that reviews and attacks from outside found in Portcullis itself. The tests cover each
 * whole class.
 */
export const ownRows: readonly Row[] = [
  {
    id: 'request that ends a service',
    what: 'trust service: a name in a request cannot be sent in a header, and the failure of the answer is not handled',
    held: [
      [
        'trust/notary/routes.test.ts',
        'an invalid name is refused when the route is read, with the name in the error',
      ],
      ['trust/notary/answer.test.ts', 'because a header cannot be sent is a 500 without that header'],
      ['trust/notary/answer.test.ts', 'because a guard, a store or a collection throws is a 500'],
    ],
  },
  {
    id: 'ports of the host by an annotation',
    what: 'services: a pod opens ports of the host, or takes over ports of host programs',
    held: [
      [
        'test/e2e/network.test.ts',
        'an annotation that requests ports of the host is refused, and changes nothing outside the pod',
      ],
      [
        hostExposure,
        'ingress ports open only if the network file allows it: for its namespaces, in its ranges, from 1024, and not at ports of host programs',
      ],
      [hostExposure, 'a host port below 1024, or one that a program of the host uses, is refused'],
      ['entitlements/ceiling/asked.test.ts', 'only privileged and host.ports grant ports of the host'],
    ],
  },
  {
    id: 'service of another namespace',
    what: 'services: a pod of another namespace joins a service and receives its connections',
    held: [
      [
        hostExposure,
        'a service belongs to the namespace of its first member, and the number of services of a namespace is limited',
      ],
      [
        publish,
        'a service belongs to the namespace of its first member on any host; if two claim it at once, one gets it and the other is refused',
      ],
    ],
  },
  {
    id: 'name that shadows another',
    what: 'DNS: a pod has the name of a host on the Internet, or of a pod in another namespace',
    held: [
      [
        'cni-plugins/dns/name-table.test.ts',
        'a name in two namespaces resolves to the client’s namespace, otherwise to the first; a name with a dot is never the name of a pod',
      ],
    ],
  },
  {
    id: 'virtual addresses without end',
    what: 'overlay: one namespace takes all subnets for virtual addresses, and keeps empty ones',
    held: [
      [
        publish,
        'the number of services of a namespace is limited; requested addresses use a limited number of subnets, which are released again',
      ],
    ],
  },
  {
    id: 'MAC address of another interface',
    what: 'networks: a pod requests the MAC address of another pod, of the bridge or of the host',
    held: [
      [
        hostExposure,
        'a MAC address of another interface, of the bridge, of a host link, or of the range that we assign is refused',
      ],
    ],
  },
  {
    id: 'name of the launcher',
    what: 'images: a link at /.portcullis-launcher of an image runs another program before Landlock',
    held: [
      ['test/e2e/launcher-name.test.ts', 'is refused if the image contains ${what} (${handler})'],
      [
        'test/e2e/launcher-name.test.ts',
        'is checked before each command: another program there does not run (${handler})',
      ],
    ],
  },
  {
    id: 'time of unpacking',
    what: 'images: a small layer of many links, or of deep paths, occupies the unpacking Workers without limit',
    held: [
      ['runtime/images/unpack/unpack-cost.test.ts', '${name}: twice as many take about twice the time'],
      [
        unpackLimits,
        'hard links into lower layers, folders without an entry, and paths are limited in number and total size',
      ],
      [unpackPool, 'a cancelled layer frees its Worker in the middle of its look-ups'],
      [
        unpackPool,
        'the Worker of a layer that exceeds its deadline is ended; other layers restart, and only its own pull fails and leaves nothing',
      ],
    ],
  },
  {
    id: 'time of metadata',
    what: 'trust: metadata of quadratic cost block the Worker that decides about all other images',
    held: [
      [
        'trust/tuf/cost.test.ts',
        'more signatures or keys than the limits are refused, whatever their content',
      ],
      ['trust/tuf/cost.test.ts', 'each key is tried once, however many signatures of it a file has'],
      ['trust/tuf-requirement/slow-metadata.test.ts', 'delays no answer about another service'],
      ['trust/notary/upload-judge.test.ts', 'a slow update of one collection delays no other collection'],
      [
        'trust/verdict/decider.test.ts',
        'a decision that exceeds its time limit is an error, never a verdict, and the next decision is made',
      ],
    ],
  },
  {
    id: 'memory of unpacking',
    what: 'images: attributes, names and link targets of an archive are kept until its end',
    held: [
      [unpackLimits, '${what} is refused before it is read'],
      [unpackLimits, 'the total size of data kept in memory until the end of a layer is limited'],
      [unpackLimits, 'a layer of ${what} is refused, and memory stays below ${mostMebibytes} MiB'],
    ],
  },
  {
    id: 'volumes on /dev, /proc and /sys',
    what: 'volumes: a volume on a kernel folder uncovers masked paths',
    held: [[folders, 'a volume is mounted on such a path only if it is harmless (${handler})']],
  },
  {
    id: 'WORKDIR through a link',
    what: 'images: the working directory leads to a descriptor of the runtime',
    held: [
      [
        folders,
        'a working directory is resolved through volumes, and again before each command (CVE-2024-21626) (${handler})',
      ],
    ],
  },
  {
    id: 'lenient certificates',
    what: 'signatures: a second reader of certificates ignores critical extensions and name constraints, and accepts encodings other than DER',
    held: [
      ['trust/x509/strict-certificates.test.ts', '${reader} refuses ${what}'],
      ['trust/x509/name-constraints.test.ts', "${form}: ${what} is ${inside ? 'inside' : 'refused'}"],
      [
        'trust/x509/hostile.test.ts',
        'a certificate with any bit flipped is read in its one encoding, or refused',
      ],
    ],
  },
  {
    id: 'redirects',
    what: 'registries and all other servers: an answer redirects the client to addresses of this machine',
    held: [
      ['base/distribution/redirects.test.ts', 'does not redirect a blob to ${host}'],
      [
        'base/http/client.test.ts',
        'to a name that resolves to another address the second time is refused (DNS rebinding)',
      ],
      ['test/house/outgoing.test.ts', 'use base/http, except in the files named here'],
    ],
  },
  {
    id: 'roots that end unseen',
    what: 'sigstore: the shipped roots expire without a warning',
    held: [
      [
        'trust/sigstore/seeds.test.ts',
        'the seeds are those of the installed package, and our TUF client accepts them',
      ],
      ['trust/sigstore/seeds.test.ts', 'an expired root can start an update to a valid one'],
      [
        'cli/doctor/seeds.test.ts',
        'the seed ${name} is reported 59 days before it expires, with what to do, and not 61 days before',
      ],
    ],
  },
  {
    id: 'emptied file of policies',
    what: 'NetworkPolicies: an empty, partly written or missing file removes all policies',
    held: [
      [
        policyFiles,
        'for an emptied or invalid file the last valid version stays in force; the problem is reported until the file is valid again',
      ],
      [
        policyFiles,
        'a file is read once it stops changing: while it keeps changing, its last valid version stays in force',
      ],
      [
        policyFiles,
        'if the folder is missing, cannot be listed, or was replaced by an empty one, all policies stay in force, also after a restart',
      ],
      [
        policies,
        'an empty, partly written or foreign file does not count as a list of policies; an empty List means no policies',
      ],
    ],
  },
  {
    id: 'emptied file of services',
    what: 'services: an empty or partly written file, or a folder that is no longer mounted, removes services',
    held: [
      [
        serviceFiles,
        'for an emptied or invalid file the last valid version stays in force; removing a file removes its services',
      ],
      [
        serviceFiles,
        'if the folder is missing, cannot be listed, or was replaced by an empty one, all services stay in force, also after a restart',
      ],
    ],
  },
  {
    id: 'one object that stops all others',
    what: 'NetworkPolicies: one invalid object, or a large dump, makes the policies of the whole node stale',
    held: [
      [
        policies,
        'an invalid object is reported with its place and isolates the pods that it may select; other objects of the file apply',
      ],
      [policies, 'objects that the API accepts are understood'],
      [
        policies,
        '2,000 policies in one dump are read, each as in a small file, and reported positions refer to the dump',
      ],
    ],
  },
  {
    id: 'address that another service has',
    what: 'services: an external address takes the ClusterIP of another service, and a refused address blocks updates of its service',
    held: [
      [
        claims,
        'a cluster address wins over a load balancer address, and a load balancer address over an external address, in any order',
      ],
      [
        claims,
        'a refused address does not block updates of the other ports and the endpoints of its service',
      ],
    ],
  },
  {
    id: 'pod’s address from elsewhere',
    what: 'networks: packets from the uplink, or from another port of the bridge, have a local pod’s source address',
    held: [
      [
        'cni-plugins/policy/forged-senders.test.ts',
        'packets from an uplink with the source address of a pod reach neither pods nor the host, with rp_filter ${filter}',
      ],
      [
        'cni-plugins/policy/forged-senders.test.ts',
        'another port of the bridge cannot send with the address of a pod, and does not take over the address',
      ],
    ],
  },
  {
    id: 'untracked traffic',
    what: 'NetworkPolicies: untracked traffic between a pod and its node is dropped, or passes between pods',
    held: [
      [
        'cni-plugins/policy/untracked.test.ts',
        'a pod that a policy isolates reaches its node and is reached by it without connection tracking',
      ],
      [
        'cni-plugins/policy/untracked.test.ts',
        'between pods, untracked packets pass in neither direction if a policy isolates one of them',
      ],
    ],
  },
  {
    id: 'invalid segments',
    what: 'services: a segment outside a connection reaches the client from the backend’s own address, and the client resets the connection',
    held: [
      [
        'cni-plugins/services/invalid-segments.fixture.ts',
        'no segment outside a known connection reaches the client from the backend’s own address',
      ],
      [
        'cni-plugins/services/invalid-segments.fixture.ts',
        'no such segment reaches a masquerading host, which would reset the connection',
      ],
      [
        'cni-plugins/services/ipvs/tables.test.ts',
        'segments of a backend outside a connection are dropped; the backends stay known when the tables are rebuilt',
      ],
    ],
  },
  {
    id: 'etcd member that does not answer',
    what: 'overlay: hosts keep a member that answers only pings, or keep expired certificates',
    held: [
      [
        failover,
        'calls, the lease (before it expires) and the watch leave a member that answers pings but no calls',
      ],
      [
        'cni-plugins/overlay/etcd/rotation.test.ts',
        'a client whose certificate has expired reaches etcd again once its files are replaced',
      ],
    ],
  },
  {
    id: 'routes of another host',
    what: 'overlay: the etcd credentials of one host can write the records of other hosts',
    held: [
      [membership, 'a host cannot write, delete or lease keys of another host or of an administrator'],
      [
        'cni-plugins/overlay/ownership/ownership.test.ts',
        'a record that names the ${what} of another host is refused, with and without a claim; the previous record stays',
      ],
    ],
  },
  {
    id: 'claims of the overlay that are lost',
    what: 'overlay: a lost answer claims a second subnet, and a refused service is not retried',
    held: [
      [membership, 'a claim whose answer is lost is not repeated: the host keeps one subnet'],
      [
        'cni-plugins/overlay/spread-services.test.ts',
        'a service that this host refuses is reported, and retried until the conflict is gone',
      ],
    ],
  },
  {
    id: 'index with two lists of manifests',
    what: 'gate and webhook: a registry offers the signed manifest to the verifier, and another one to a runtime in Go',
    held: [
      ['base/distribution/manifest.test.ts', 'is refused with ${written}'],
      ['runtime/images/manifest/manifest.test.ts', 'configuration, ${text}: ${code}'],
      [
        'runtime/images/unpack/tar-reader.test.ts',
        'headers that contradict each other are read as in archive/tar of Go, which scanners use',
      ],
    ],
  },
];
