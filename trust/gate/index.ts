/**
 * The gate, which decides about all images of a workload or of a pipeline at once: its sources, waivers,
 * reports and summaries. For programs that admit deployments, such as the admission webhook.
 */
export { loadWaivers } from './waivers.ts';
export { waiversSchema } from './waiver-schema.ts';
export type { Waiver } from './waivers.ts';
export { signSummaries } from './summaries.ts';
export type { SummariesInput } from './summaries.ts';
export type { BuilderLevels } from './provenance.ts';
export { admitImages } from './admit.ts';
export type { AdmitInput, GateCache } from './admit.ts';
export { createHostWatch } from './host-watch.ts';
export type { HostWatch } from './host-watch.ts';
export { largestSource, readImageSources } from './image-sources.ts';
export { podSpecPath, readWorkload } from './workload-images.ts';
export type { WorkloadImage, WorkloadReader } from './workload-images.ts';
export type { UnreadPart } from './unread-parts.ts';
export type { ImageSource } from './image-sources.ts';
export { gateReport, gateText, reportFormats } from './reports.ts';
export type { ReportFormat } from './reports.ts';
export { standardInput } from './report-sarif.ts';
export type { ReportContext } from './report-sarif.ts';
export { isIncomplete } from './report-texts.ts';
export type { GateDecision, GateImage, GateQuestion, GateResult, ImagePlace } from './types.ts';
