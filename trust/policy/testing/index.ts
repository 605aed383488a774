/**
 * Tests and simulations of policies, and the recordings of evidence that they use: for programs that check a
 * change of a policy before it is in force.
 */
export { policyTestSchema } from './policy-test-schema.ts';
export { testPolicy } from './policy-tests.ts';
export type { CaseResult, PolicyTestOptions, PolicyTestResult } from './policy-tests.ts';
export { simulatePolicy } from './simulate.ts';
export type { Change, Simulation } from './simulate.ts';
export { readRecording, saveRecording } from './recording.ts';
export type { Recording } from './recording.ts';
