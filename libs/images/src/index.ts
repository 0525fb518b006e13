/** The surface of @nephos/images. */
export type { ImageFormat } from './format.ts';
export { detectFormat } from './format.ts';
export type { ImageFacts, ImageLimits, RawFacts } from './image-rules.ts';
export { defaultImageLimits } from './image-rules.ts';
export { inspectHead, inspectImage } from './inspect.ts';
export type { Qcow2Header } from './qcow2.ts';
export { parseQcow2Header } from './qcow2.ts';
export type { ImageCheck, ImageInfo, OverlayOptions, QemuImgOptions } from './qemu-img.ts';
export { QemuImg } from './qemu-img.ts';
