/**
 * Judges an image that lies in the content store. With qemu-img all of its tables are checked in a limited child;
 * without it, only what its own bytes say at the head, and the caller is told so.
 */
import { spawnSync } from 'node:child_process';
import { type ImageFacts, type ImageLimits, inspectHead, inspectImage, QemuImg } from '@nephos/images';
import type { Clock } from '@nephos/service';

export interface Judgement {
  readonly facts: ImageFacts;
  /** False: qemu-img is not installed, so damage deep within would not be seen. */
  readonly deep: boolean;
}

export class Inspector {
  readonly #qemuImg: QemuImg | undefined;
  readonly #limits: ImageLimits;

  constructor(clock: Clock, limits: ImageLimits) {
    const found = spawnSync('qemu-img', ['--version'], { stdio: 'ignore' });
    this.#qemuImg = found.status === 0 ? new QemuImg({ clock }) : undefined;
    this.#limits = limits;
  }

  /** Quick, before anything is accepted. Throws `Invalid`. */
  head(file: string): Promise<ImageFacts> {
    return inspectHead(file, this.#limits);
  }

  /** Throws `Invalid`, or `Unavailable` where qemu-img could not finish. */
  async judge(file: string): Promise<Judgement> {
    if (this.#qemuImg === undefined) return { facts: await this.head(file), deep: false };
    return { facts: await inspectImage(file, this.#qemuImg, this.#limits), deep: true };
  }
}
