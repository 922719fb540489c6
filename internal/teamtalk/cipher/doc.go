// SPDX-License-Identifier: Apache-2.0

// Package cipher is TeamTalk's message cipher: AES-256-ECB, in base64 without line breaks. It encrypts the text, the
// padding, and the length of the text in the last four bytes (u32 big-endian). It only hides texts from the disks of
// servers: equal blocks have equal ciphertexts, and there is no authentication.
//
// The padding is zeros, or a delivery token. Clients ignore it. New returns a Cipher; Keys decrypts with the
// current or a previous one, and tells what they may not be able to.
package cipher
