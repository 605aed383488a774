/** Returns a commented profile to start from. */
export function starterProfile(name: string): string {
  return `# yaml-language-server: $schema=https://portcullis.dev/schemas/v1alpha1/entitlement-profile.json
# What the workload may do. Checked by: portcullis entitlements check FILE; described by: portcullis entitlements explain FILE
apiVersion: portcullis.dev/v1alpha1
kind: EntitlementProfile
metadata:
  name: ${name}
# The order does not matter. The command portcullis entitlements list shows all of them.
entitlements:
  - host.devices.none
  - host.processes.none
  - network.user
  - security.confined
capabilities:
  drop: [ ALL ]

# Uncomment what is needed.
# files:
#   read: [/app/**, /etc/ssl/**]
#   write: [/var/cache/app/**]
# network:
#   egress:
#     - { to: 10.0.0.0/8, ports: [5432/tcp] }
# syscalls:
#   add: [io_uring_setup]
# resources:
#   memlock: 64Ki
`;
}
