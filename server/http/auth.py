"""Accounts over HTTP: register, log in, refresh, verify, profile, log out.

Who guesses learns nothing: an unknown address, a wrong password and an account without one get the same
answer after the same work, and only the right password hears that an account is blocked. Tries are limited
per account and address, and per address; one that PostgreSQL was not there to judge does not count. A refresh
token answers with itself: it is good until logout.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from server.http import metrics
from server.http.call import Call
from server.http.envelope import Refusal, Reply, iso
from server.http.fields import NAME_CHARS, URL_CHARS, Field, Fields, is_email
from server.http.limits import Limiter
from storage.accounts import Changes, EmailTaken, NewUser, User
from storage.passwords import MAX_BYTES
from storage.postgis import DatabaseUnavailable

OPEN_ROLES = ("passenger", "driver")
MAX_TOKEN_CHARS = 200

EMAIL, PASSWORD = Field("email", "email", required=True), Field("password", "password", required=True)
FIRST_NAME, LAST_NAME = (Field(name, required=True, most=NAME_CHARS) for name in ("firstName", "lastName"))
PHONE, BIRTH = Field("phone", "phone", required=True), Field("dateOfBirth", "day")
ROLE = Field("role", "choice", choices=OPEN_ROLES)
PICTURE = Field("profilePicture", most=URL_CHARS)
LOGIN = (EMAIL, Field("password", required=True, most=MAX_BYTES))
REGISTER = (EMAIL, FIRST_NAME, LAST_NAME, PHONE, BIRTH, ROLE, PASSWORD)
REFRESH = (Field("refreshToken", required=True, most=MAX_TOKEN_CHARS),)
PROFILE = (
    *(field._replace(required=False) for field in (FIRST_NAME, LAST_NAME, PHONE)), PICTURE, BIRTH,
)  # fmt: skip


def user_shape(user: User) -> dict[str, Any]:
    """The apps' user object."""
    return {
        "id": user.id,
        "email": user.email,
        "phone": user.phone or "",
        "firstName": user.first_name,
        "lastName": user.last_name,
        "role": user.role,
        "status": user.status,
        "profilePicture": user.profile_picture,
        "isEmailVerified": user.is_email_verified,
        "isPhoneVerified": user.is_phone_verified,
        "createdAt": iso(user.created_at),
        "updatedAt": iso(user.updated_at),
    }


async def login(call: Call) -> Reply:
    body = await call.body()
    email, password = (body.get(field.name) for field in LOGIN)
    if not isinstance(email, str) or not isinstance(password, str) or not email or not password:
        raise Refusal(400, "Email and password are required.")
    email = email.strip()
    account = f"{email[:300].lower()}|{call.address}"
    _count(call.ctx.login_tries, account)
    _count(call.ctx.address_tries, call.address)
    metrics.LOGIN_ATTEMPTS.inc()
    with _not_counted_if_away((call.ctx.login_tries, account), (call.ctx.address_tries, call.address)):
        # What cannot be an address is nobody's: it is checked like an unknown one.
        found = await call.ctx.accounts.find_by_email(email) if is_email(email) else None
    user, hashed = found if found is not None else (None, "")
    right = await call.ctx.passwords.check(password, hashed)
    if user is None or not right:
        metrics.LOGIN_FAILURES.labels("credentials").inc()
        raise Refusal(401, "Email or password is wrong.")
    call.ctx.login_tries.forget(account)
    call.ctx.address_tries.take_back(call.address)
    if user.status != "active":
        metrics.LOGIN_FAILURES.labels("blocked").inc()
        raise Refusal(403, "This account is blocked.", code="ACCOUNT_BLOCKED")
    return await _welcome(call, user, 200)


async def register(call: Call) -> Reply:
    fields = Fields(await call.body())
    email, first_name, last_name, phone, birth, role, password = fields.read(*REGISTER)
    fields.refuse_if_wrong()
    _count(call.ctx.registrations, call.address)
    new = NewUser(
        email=email,
        first_name=first_name,
        last_name=last_name,
        phone=phone,
        date_of_birth=birth,
        role=role,
        password_hash=await call.ctx.passwords.hash(password),
    )
    try:
        with _not_counted_if_away((call.ctx.registrations, call.address)):
            user = await call.ctx.accounts.register(new)
    except EmailTaken:
        raise Refusal(409, "An account with this email exists.", code="EMAIL_EXISTS") from None
    metrics.REGISTRATIONS.labels(user.role).inc()
    return await _welcome(call, user, 201)


async def refresh(call: Call) -> Reply:
    token = (await call.body()).get(REFRESH[0].name)
    if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN_CHARS:
        raise Refusal(401, "The refresh token is not valid.")
    found = await call.ctx.accounts.refresh(token)
    if found is None:
        metrics.AUTH_FAILURES.labels("refresh").inc()
        raise Refusal(401, "The refresh token is not valid.")
    access = _access(call, found.user_id, found.role, found.session_id)
    return Reply({**access, "refreshToken": token})


async def verify(call: Call) -> Reply:
    user = await call.ctx.accounts.profile(call.who.user_id)
    return Reply({"user": user_shape(user), "tokenValid": True})


async def profile(call: Call) -> Reply:
    return Reply(user_shape(await call.ctx.accounts.profile(call.who.user_id)))


async def change_profile(call: Call) -> Reply:
    """Names, phone, picture, birthday; whatever else the app sends along (email, role, status) stays as it is."""
    fields = Fields(await call.body())
    first_name, last_name, phone, picture, birth = fields.read(*PROFILE)
    fields.refuse_if_wrong()
    changes = Changes(
        first_name=first_name,
        last_name=last_name,
        phone=phone,
        profile_picture=picture,
        date_of_birth=birth,
    )
    return Reply(user_shape(await call.ctx.accounts.change(call.who.user_id, changes)))


async def logout(call: Call) -> Reply:
    await call.ctx.accounts.revoke(call.who.session_id)
    await call.ctx.known.forget([call.who.session_id])
    return Reply(message="Logged out.")


@contextmanager
def _not_counted_if_away(*counted: tuple[Limiter, str]) -> Iterator[None]:
    """Takes tries back that nobody could judge: who asks again until PostgreSQL is back must not be locked out then."""
    try:
        yield
    except DatabaseUnavailable:
        for limiter, key in counted:
            limiter.take_back(key)
        raise


def _count(limiter: Limiter, key: str) -> None:
    """Counts a try; refuses it when there were too many."""
    now_s = time.monotonic()
    wait_s = limiter.wait_s(key, now_s)
    if wait_s:
        metrics.LOGIN_FAILURES.labels("limited").inc()
        text = "Too many tries. Come back later."
        raise Refusal(429, text, code="LOGIN_RATE_LIMIT_EXCEEDED", retry_after_s=wait_s)
    limiter.count(key, now_s)


def _access(call: Call, user_id: str, role: str, session_id: str) -> dict[str, Any]:
    life_s = call.ctx.settings.access_s
    token = call.ctx.keyring.mint(user_id, role, session_id, now_s=time.time(), life_s=life_s)
    return {"accessToken": token, "expiresIn": life_s}


async def _welcome(call: Call, user: User, status: int) -> Reply:
    agent = call.request.headers.get("User-Agent", "")
    session = await call.ctx.accounts.open_session(
        user.id, life_s=call.ctx.settings.refresh_s, user_agent=agent
    )
    tokens = _access(call, user.id, user.role, session.session_id)
    return Reply({"user": user_shape(user), **tokens, "refreshToken": session.refresh_token}, status=status)
