/** The result of a command or an attach session. */
export type Outcome =
  | { readonly kind: 'success' }
  | { readonly kind: 'exit'; readonly code: number }
  | { readonly kind: 'failure'; readonly why: string };

/** Whether the error channel carries a Status (v4 and later) or plain text. */
export type StatusFormat = 'status' | 'text';

/**
 * Formats the final message of the error channel. Format 4 is a metav1.Status as k8s.io/cri-streaming writes
 * it: clients read the exit code from its causes. Earlier formats send nothing on success.
 */
export function formatOutcome(outcome: Outcome, format: StatusFormat): string {
  if (outcome.kind === 'success') return format === 'status' ? status({ status: 'Success' }) : '';
  if (outcome.kind === 'exit') {
    const message = `command terminated with non-zero exit code: exit status ${outcome.code}`;
    if (format === 'text') return message;
    const details = { causes: [{ reason: 'ExitCode', message: String(outcome.code) }] };
    return status({ status: 'Failure', message, reason: 'NonZeroExitCode', details });
  }
  const message = `Internal error occurred: ${outcome.why}`;
  if (format === 'text') return message;
  return status({ status: 'Failure', message, reason: 'InternalError', code: 500 });
}

function status(fields: object): string {
  return JSON.stringify({ metadata: {}, ...fields });
}
