/** Audio: WAV files, resampling, spectrograms, mel features, and sounds with known causes. */
export { type Fft, fft } from "./fft.js";
export { type FrameOptions, type Window, windowOf } from "./frames.js";
export { type LogMelOptions, logMel, type MelOptions, melFilters, mfcc } from "./mel.js";
export { type ResampleOptions, resampleAudio } from "./resample.js";
export { type ComplexTensor, powerSpectrogram, type SpectrogramOptions, stft } from "./spectrogram.js";
export { chirp, type VowelOptions, type Vowels, vowelFormants, vowels } from "./vowels.js";
export { readWav, type Sound, type WavFormat, writeWav } from "./wav.js";
