/** Notices: what the server tells a person besides the document, as text or JSON. */

const MAX_LENGTH = 500

/**
 * @param {string} payload a stateless message
 * @returns {string} what to show; empty when it says nothing to a person
 */
export function noticeText(payload) {
  let text = payload
  try {
    const value = JSON.parse(payload)
    if (typeof value === 'object' && value !== null) {
      text = [value.message, value.text, value.detail, value.title].find((each) => typeof each === 'string') ?? ''
    }
  } catch {
    // Plain text.
  }
  text = text.trim()
  return text.length > MAX_LENGTH ? `${text.slice(0, MAX_LENGTH)}…` : text
}
