/**
 * Writes a small SELinux policy in CIL for test/vm/selinux to standard output: the types of containers,
 * categories that isolate pods, and everything else allowed. It is for a machine without a policy, and
 * protects nothing. Source: SELinuxProject, secilc reference (github.com/SELinuxProject/selinux,
 * secilc/docs).
 */

/** Initial ids in the kernel's order: security/selinux/include/initial_sid_to_string.h. */
const sids =
  `kernel security unlabeled fs file file_labels init any_socket port netif netmsg node igmp_packet icmp_socket tcp_socket
  sysctl_modprobe sysctl sysctl_fs sysctl_kernel sysctl_net sysctl_net_unix sysctl_vm sysctl_dev kmod policy scmp_packet devnull`.split(
    /\s+/,
  );
const types = ['kernel_t', 'container_t', 'container_init_t', 'spc_t', 'container_file_t', 'unlabeled_t'];
const file = `ioctl read write create getattr setattr lock relabelfrom relabelto append map unlink link rename execute quotaon mounton
  audit_access open execmod watch execute_no_trans entrypoint add_name remove_name reparent search rmdir`;
/** The policy controls only these classes. It allows everything in classes that it does not know. */
const classes: Readonly<Record<string, string>> = {
  process: `fork transition sigchld sigkill sigstop signull signal ptrace getsched setsched getsession getpgid setpgid getcap setcap share
    getattr setexec setfscreate noatsecure siginh setrlimit rlimitinh dyntransition setcurrent execmem execstack execheap setkeycreate
    setsockcreate getrlimit`,
  file,
  dir: file,
  lnk_file: file,
  chr_file: file,
};
const categories = Array.from({ length: 1024 }, (_, index) => `c${index}`);
const lowest = '((s0)(s0))';

const lines: readonly string[] = [
  '(handleunknown allow)',
  '(mls true)',
  ...Object.entries(classes).map(([name, permissions]) => `(class ${name} (${permissions}))`),
  `(classorder (${Object.keys(classes).join(' ')}))`,
  ...sids.map((sid) => `(sid ${sid})`),
  `(sidorder (${sids.join(' ')}))`,
  ...types.map((type) => `(type ${type})`),
  ...[
    '(role system_r)',
    '(role object_r)',
    '(user system_u)',
    '(userrole system_u system_r)',
    '(userrole system_u object_r)',
  ],
  ...types.flatMap((type) => [`(roletype system_r ${type})`, `(roletype object_r ${type})`]),
  ...categories.map((category) => `(category ${category})`),
  `(categoryorder (${categories.join(' ')}))`,
  ...['(sensitivity s0)', '(sensitivityorder (s0))', '(sensitivitycategory s0 (range c0 c1023))'],
  ...['(userlevel system_u (s0))', '(userrange system_u ((s0)(s0 (range c0 c1023))))'],
  ...sids.map((sid) =>
    ['kernel', 'init', 'kmod'].includes(sid)
      ? `(sidcontext ${sid} (system_u system_r kernel_t ((s0)(s0 (range c0 c1023)))))`
      : `(sidcontext ${sid} (system_u object_r unlabeled_t ${lowest}))`,
  ),
  ...types.flatMap((from) =>
    types.flatMap((to) =>
      Object.entries(classes).map(
        ([name, permissions]) => `(allow ${from} ${to} (${name} (${permissions})))`,
      ),
    ),
  ),
  // A container can read and write objects with its own categories or fewer.
  ...['file', 'dir'].map(
    (name) => `(mlsconstrain (${name} (read write open)) (or (dom h1 h2) (neq t1 container_t)))`,
  ),
  ...['overlay', 'ext4', 'tmpfs', 'devtmpfs', 'virtiofs', 'fuse'].map(
    (fs) => `(fsuse xattr ${fs} (system_u object_r unlabeled_t ${lowest}))`,
  ),
  ...['proc', 'sysfs', 'cgroup2', 'cgroup'].map(
    (fs) => `(genfscon ${fs} / (system_u object_r unlabeled_t ${lowest}))`,
  ),
];
process.stdout.write(lines.map((line) => `${line}\n`).join(''));
