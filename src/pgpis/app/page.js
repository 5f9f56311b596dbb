// Pictures without an alternative text get the label of what shows them; thumbnails are called what they show.
new MutationObserver(() => {
  for (const picture of document.querySelectorAll("img:not([alt]), img[alt='']")) {
    const label = picture.closest(".block")?.querySelector("[data-testid='block-label'], label");
    if (label?.textContent.trim()) picture.alt = label.textContent.trim();
  }
  for (const picture of document.querySelectorAll(".thumbnails button[aria-label^='Thumbnail'] img[alt]")) {
    picture.closest("button").setAttribute("aria-label", picture.alt);
  }
}).observe(document.documentElement, { childList: true, subtree: true });
