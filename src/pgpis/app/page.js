// Pictures without an alternative text get the label of what shows them.
new MutationObserver(() => {
  for (const picture of document.querySelectorAll("img:not([alt]), img[alt='']")) {
    const label = picture.closest(".block")?.querySelector("[data-testid='block-label'], label");
    if (label?.textContent.trim()) picture.alt = label.textContent.trim();
  }
}).observe(document.documentElement, { childList: true, subtree: true });
