/** Files of one cgroup as kernels wrote them, recorded while `dd` and a shell loop ran below limits. */

/** Version 2, Linux 6.1: 64 MiB of memory, 32 MiB of swap, 50 tasks, a fifth of a processor. */
export const version2: Readonly<Record<string, string>> = {
  'cgroup.procs': `136
141
167
`,
  'cpu.pressure': `some avg10=48.32 avg60=16.36 avg300=3.85 total=11908868
full avg10=48.32 avg60=16.36 avg300=3.85 total=11905562
`,
  'cpu.stat': `usage_usec 2334294
user_usec 1458933
system_usec 875360
nr_periods 120
nr_throttled 115
throttled_usec 12079144
nr_bursts 0
burst_usec 0
`,
  'hugetlb.1GB.current': `0
`,
  'hugetlb.2MB.current': `0
`,
  'io.pressure': `some avg10=0.00 avg60=0.00 avg300=0.00 total=32324
full avg10=0.00 avg60=0.00 avg300=0.00 total=32324
`,
  'io.stat': `7:0 rbytes=2097152 wbytes=1048576 rios=32 wios=16 dbytes=0 dios=0
`,
  'memory.current': `9859072
`,
  'memory.events': `low 0
high 0
max 0
oom 0
oom_kill 0
oom_group_kill 0
`,
  'memory.max': `67108864
`,
  'memory.peak': `10174464
`,
  'memory.pressure': `some avg10=0.00 avg60=0.00 avg300=0.00 total=0
full avg10=0.00 avg60=0.00 avg300=0.00 total=0
`,
  'memory.stat': `anon 286720
file 9003008
kernel 262144
kernel_stack 32768
pagetables 69632
sec_pagetables 0
percpu 0
sock 0
vmalloc 0
shmem 8388608
file_mapped 372736
file_dirty 0
file_writeback 0
swapcached 0
anon_thp 0
file_thp 0
shmem_thp 0
inactive_anon 8646656
active_anon 8192
inactive_file 614400
active_file 0
unevictable 0
slab_reclaimable 46792
slab_unreclaimable 57896
slab 104688
workingset_refault_anon 0
workingset_refault_file 0
workingset_activate_anon 0
workingset_activate_file 0
workingset_restore_anon 0
workingset_restore_file 0
workingset_nodereclaim 0
pgscan 0
pgsteal 0
pgscan_kswapd 0
pgscan_direct 0
pgsteal_kswapd 0
pgsteal_direct 0
pgfault 954
pgmajfault 13
pgrefill 0
pgactivate 5
pgdeactivate 0
pglazyfree 0
pglazyfreed 0
thp_fault_alloc 0
thp_collapse_alloc 0
`,
  'memory.swap.current': `0
`,
  'memory.swap.max': `33554432
`,
  'pids.current': `3
`,
  'pids.max': `50
`,
};

/** Version 1, Linux 6.18: 64 MiB of memory, 96 MiB with swap, 50 tasks, a fifth of a processor. */
export const version1: Readonly<Record<string, string>> = {
  'cgroup.procs': `17129
17136
17253
`,
  'cpu.stat': `nr_periods 12
nr_throttled 12
throttled_time 488991402
nr_bursts 0
burst_time 0
`,
  'cpuacct.stat': `user 20
system 4
`,
  'cpuacct.usage': `250604811
`,
  'memory.failcnt': `0
`,
  'memory.kmem.usage_in_bytes': `303104
`,
  'memory.limit_in_bytes': `67108864
`,
  'memory.max_usage_in_bytes': `9981952
`,
  'memory.memsw.limit_in_bytes': `100663296
`,
  'memory.oom_control': `oom_kill_disable 0
under_oom 0
oom_kill 0
`,
  'memory.stat': `cache 8409088
rss 335872
rss_huge 0
shmem 8388608
mapped_file 0
dirty 20480
writeback 0
workingset_refault_anon 0
workingset_refault_file 0
swap 0
swapcached 0
pgpgin 2939
pgpgout 804
pgfault 1887
pgmajfault 0
inactive_anon 8704000
active_anon 8192
inactive_file 20480
active_file 0
unevictable 0
hierarchical_memory_limit 67108864
hierarchical_memsw_limit 100663296
total_cache 8409088
total_rss 335872
total_rss_huge 0
total_shmem 8388608
total_mapped_file 0
total_dirty 20480
total_writeback 0
total_workingset_refault_anon 0
total_workingset_refault_file 0
total_swap 0
total_swapcached 0
total_pgpgin 2939
total_pgpgout 804
total_pgfault 1887
total_pgmajfault 0
total_inactive_anon 8704000
total_active_anon 8192
total_inactive_file 20480
total_active_file 0
total_unevictable 0
`,
  'memory.usage_in_bytes': `9859072
`,
  'pids.current': `3
`,
  'pids.max': `50
`,
  // From blkio-controller.rst: kernels write these only for devices that a scheduler or a limit accounts.
  'blkio.bfq.io_service_bytes_recursive': `8:0 Read 1310720
8:0 Write 4096
8:0 Sync 1314816
8:0 Async 0
8:0 Discard 0
8:0 Total 1314816
Total 1314816
`,
  'blkio.bfq.io_serviced_recursive': `8:0 Read 30
8:0 Write 1
8:0 Sync 31
8:0 Async 0
8:0 Discard 0
8:0 Total 31
Total 31
`,
};
