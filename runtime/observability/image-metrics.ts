import { metric } from './metric-definition.ts';

const pullSeconds = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];

/** The metrics of images and of their pulls. */
export const imageMetrics = {
  images: metric(
    'images',
    'gauge',
    'Images that are listed; verified=false: admitted by a rule with `allow: unverified`.',
    ['verified'],
  ),
  imageBytes: metric('image_bytes', 'gauge', 'Disk space of all images, compressed and unpacked.'),
  pulls: metric(
    'image_pulls_total',
    'counter',
    'Pulls by outcome: admitted, denied, undecided, cancelled, failed.',
    ['outcome'],
  ),
  pullDuration: metric(
    'image_pull_duration_seconds',
    'histogram',
    'Duration of pulls.',
    ['outcome'],
    pullSeconds,
  ),
  fetchedBytes: metric(
    'image_fetched_bytes_total',
    'counter',
    'Bytes of image content fetched from registries, whatever the decision.',
  ),
  pullsRunning: metric(
    'image_pulls_running',
    'gauge',
    'Pulls that are receiving content, or wait for the rest of a pull.',
  ),
  pullBytes: metric(
    'image_pull_bytes',
    'gauge',
    'Bytes of the layers of these pulls, compressed: received, missing.',
    ['state'],
  ),
} as const;
