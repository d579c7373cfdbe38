import assert from 'node:assert/strict'
import { test } from 'node:test'
import { noticeText } from '../notices.js'

test('a notice is text, or JSON with a text in it', () => {
  assert.equal(noticeText('Your edit was refused'), 'Your edit was refused')
  assert.equal(noticeText('{"message":"Please review"}'), 'Please review')
  assert.equal(noticeText('{"title":"T","detail":"D"}'), 'D')
  assert.equal(noticeText('{"message":7}'), '')
  assert.equal(noticeText('42'), '42')
})

test('a long notice is cut', () => {
  assert.equal(noticeText('x'.repeat(9999)).length, 501)
})
